#!/usr/bin/env bash
# Makes, or brings up to date, the environment of the benchmarks' peers.
#
#   tools/bench_env.sh <environment> <base environment>
#   tools/bench_env.sh .venv_bench .venv
#
# It sees the base environment (torch, torchaudio, ESPnet and this package) and adds
# transformers. fairseq 0.12.2 cannot be installed beside a current Python: its source
# archive is unpacked, and benchmarks/peers.py takes from it the functions it compares.
set -euo pipefail

if [ $# -ne 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
env=$PWD/$1 base=$PWD/$2
log=$env.log
stamp=$env/.a2m_complete
transformers=transformers==5.23.0
fairseq=fairseq==0.12.2

purpose() {
  echo "$base $("$base/bin/python" --version) $(cksum <tools/bench_env.sh)"
}

site_of() {
  "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

install_all() {
  set -e
  rm -rf "$env"
  "$base/bin/python" -m venv --without-pip "$env"
  # not "include-system-site-packages": the base is an environment itself
  echo "import site; site.addsitedir('$(site_of "$base")')" \
    >"$(site_of "$env")/base_environment.pth"
  # wheel: pip wants metadata even of what it only downloads
  "$env/bin/python" -m pip install "$transformers" wheel
  "$env/bin/python" -m pip download --no-deps --no-binary fairseq \
    --no-build-isolation --dest "$env/src" "$fairseq"
  tar -xzf "$env/src/fairseq-"*.tar.gz -C "$env/src"
  rm -f "$env/src/fairseq-"*.tar.gz
  "$env/bin/python" -c 'import transformers, torchaudio, espnet2, espnet_a2m'
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(purpose)" ]; then
  exit 0
fi
if [ -e "$env" ] && [ ! -f "$env/pyvenv.cfg" ]; then
  echo "ERROR: [$1] $env is no Python environment: move it away." >&2
  exit 1
fi
echo "[$1] making it on top of $2: downloads about 30 MB; log: $log"
( # in the background: the shell ignores "set -e" in a condition
  unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off
  export PIP_ROOT_USER_ACTION=ignore
  install_all
) </dev/null >"$log" 2>&1 &
if ! wait $!; then
  tail -n 30 "$log" >&2
  echo "ERROR: [$1] could not be made; the end of $log is above." >&2
  exit 1
fi
purpose >"$stamp"
echo "[$1] ready"
