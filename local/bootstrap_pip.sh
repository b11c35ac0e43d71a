#!/usr/bin/env bash
# Puts pip into a virtual environment that was made with --without-pip.
#
#   local/bootstrap_pip.sh <environment>
#
# Debian and Ubuntu ship python3 without ensurepip (it is in python3-venv). pip's
# wheel is in their package python3-pip-whl: it is downloaded, unpacked and run from
# a temporary folder. Neither root nor an earlier apt-get update is needed, and
# nothing is installed outside the environment.
set -euo pipefail

env=$(cd "$1" && pwd)
python=$env/bin/python
manual="apt-get install python3-venv"

fail() {
  echo "ERROR: $1" >&2
  echo "       Install pip's support yourself, as root, and run again: $manual" >&2
  exit 1
}

if "$python" -c 'import ensurepip' 2>/dev/null; then
  "$python" -m ensurepip --default-pip
  exit 0
fi
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "this Python has no ensurepip, and no $tool."
done

tmp=$env/bootstrap_pip
rm -rf "$tmp"
mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/x"
trap 'rm -rf "$tmp"' EXIT
apt() { # lists and cache of its own: no lock, no root
  (cd "$tmp" && apt-get -q -o "Dir::State::lists=$tmp/lists" \
    -o "Dir::Cache=$tmp/cache" -o Debug::NoLocking=true \
    -o "APT::Sandbox::User=$(id -un)" "$@")
}
apt update || fail "apt-get update failed: is the network there?"
apt download python3-pip-whl || fail "apt-get could not download python3-pip-whl."
dpkg-deb -x "$tmp"/python3-pip-whl_*.deb "$tmp/x"
for wheel in "$tmp"/x/usr/share/python-wheels/pip-*.whl; do
  "$python" "$wheel/pip" install --no-compile pip
  exit 0
done
fail "there is no pip wheel in python3-pip-whl."
