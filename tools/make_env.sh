#!/usr/bin/env bash
# Creates, or brings up to date, a virtual environment with this package in it.
#
#   tools/make_env.sh <environment> <extras> [<python>]
#   tools/make_env.sh .venv dev
#
# Returns at once when the environment fits setup.py. One whose installation was
# interrupted is installed again from scratch. pip's output goes to <environment>.log;
# the last lines are shown on failure. Needs no root, no compiler and no python3-venv.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=$1 extras=$2 wanted_python=${3:-}
env=$PWD/$name
log=$env.log
stamp=$env/.a2m_complete     # what the environment was created for
partial=$env/tmp             # there during the installation
gigabytes=9                  # 6 installed, 3 for the downloads
# pip 26.3 refuses the metadata of a package that espnet 202511 depends on (ci_sdr).
pip_version='pip>=24,<26.3'

say() { echo "[$name] $*"; }

die() {
  echo "ERROR: [$name] $1" >&2
  exit 1
}

purpose() {
  echo "$PWD $extras $(cat setup.py tools/make_env.sh | cksum)"
}

python_of() { # "3.11"
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null
}

quick_exit() { # the environment is there and fits
  [ -f "$stamp" ] && [ ! -e "$partial" ] || return 0
  [ "$(cat "$stamp")" = "$(purpose)" ] || return 0
  [ -x "$env/bin/python" ] && "$env/bin/python" -c '' 2>/dev/null || return 0
  if [ -z "$wanted_python" ] ||
    [ "$(python_of "$wanted_python")" = "$(python_of "$env/bin/python")" ]; then
    exit 0
  fi
}

remove_unusable() { # interrupted, moved, or of another Python
  local why=
  [ -e "$env" ] || return 0
  if [ -e "$partial" ]; then
    why="is unfinished"
  elif ! [ "$(python_of "$env/bin/python")" = "$version" ]; then
    why="is not of Python $version"
  elif [ -f "$stamp" ] && [ "$(cut -d' ' -f1 "$stamp")" != "$PWD" ]; then
    why="was created in another folder"
  fi
  if [ -n "$why" ]; then
    [ -e "$partial" ] || [ -e "$stamp" ] ||
      die "$env exists, was not created by this script, and $why: move it away."
    say "$name $why: removing it."
    rm -rf "$env"
  fi
}

check_space() {
  local free
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$gigabytes" ] ||
    die "$gigabytes GB of disk are needed for $env, $free GB are free."
}

# ESPnet 202511 asks for pyworld, which has no Linux wheel and needs a C++ compiler
# and Python's headers. Only ESPnet's speech synthesis imports it, so its place is
# held by metadata without a module: `import pyworld` fails as if it were not there.
hold_pyworlds_place() {
  local site info
  case $version in 3.10 | 3.11) ;; *) return 0 ;; esac
  ! "$env/bin/python" -m pip show -q pyworld 2>/dev/null || return 0
  site=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  info=pyworld-0.3.5+absent.dist-info
  mkdir -p "$site/$info"
  printf '%s\n' "Metadata-Version: 2.1" "Name: pyworld" "Version: 0.3.5+absent" \
    "Summary: Placeholder without code; pip install --force-reinstall pyworld" \
    >"$site/$info/METADATA"
  printf '%s\n' "$info/METADATA,," "$info/RECORD,," >"$site/$info/RECORD"
}

install_all() {
  set -e
  "$python" -m venv --without-pip "$env"
  "$env/bin/python" -m pip install --no-compile "$pip_version" 2>/dev/null ||
    tools/bootstrap_pip.sh "$env" "$pip_version"
  hold_pyworlds_place
  "$env/bin/python" -m pip install --no-compile -e ".[$extras]"
  "$env/bin/python" -m pip check
  "$env/bin/python" -c 'import espnet_a2m, espnet2.bin.asr_train'
  # all at once, on all processors: where PYTHONDONTWRITEBYTECODE is set every program
  # would else compile ESPnet and torch again, which doubles the time they start in
  "$env/bin/python" -m compileall -q -j 0 "$env"/lib/python3*/site-packages || true
}

report_progress() { # one line every half minute while process $1 lives
  local elapsed=0
  while kill -0 "$1" 2>/dev/null; do
    sleep 1
    elapsed=$((elapsed + 1))
    if [ $((elapsed % 30)) = 0 ]; then
      say "${elapsed} s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-70)"
    fi
  done
}

quick_exit
if command -v flock >/dev/null; then # two makes at once: the second one waits
  exec 9>"$env.lock"
  flock 9
  quick_exit
fi
python=$(tools/find_python.sh "$wanted_python")
version=$(python_of "$python")
remove_unusable
check_space
if [ -e "$env" ]; then
  say "bringing it up to date with setup.py; log: $log"
else
  say "creating it with Python $version ($python): downloads up to 3 GB and takes" \
    "3 to 6 minutes, once; log: $log"
fi
started=$SECONDS
mkdir -p "$partial"
rm -f "$stamp"
# TMPDIR: where /tmp is in memory, the downloads would not fit.
# unset: settings that lead an environment's Python or pip elsewhere.
set -m # a process group of its own, so that an interruption ends pip, too
(
  unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
  export TMPDIR=$partial PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
  export PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore
  install_all
) </dev/null >"$log" 2>&1 9>&- &
worker=$!
set +m
trap 'kill -- "-$worker" 2>/dev/null || true' EXIT
report_progress "$worker"
if ! wait "$worker"; then
  grep -v '^WARNING: Location' "$log" | tail -n 30 >&2
  die "could not be created; the end of $log is above."
fi
trap - EXIT
purpose >"$stamp"
rm -rf "$partial"
say "ready after $((SECONDS - started)) s"
