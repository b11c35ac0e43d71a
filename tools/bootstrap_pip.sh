#!/usr/bin/env bash
# Puts pip into a virtual environment that was created with --without-pip.
#
#   tools/bootstrap_pip.sh <environment> <requirement>
#   tools/bootstrap_pip.sh .venv 'pip<26'
#
# Python's ensurepip has one. Debian and Ubuntu ship python3 without it: there pip's wheel
# is taken from their package python3-pip-whl, which is downloaded and unpacked in a
# temporary folder. Neither root nor an earlier apt-get update is needed, and nothing is
# installed outside the environment.
set -euo pipefail

env=$(cd "$1" && pwd)
requirement=$2
python=$env/bin/python

fail() {
  echo "ERROR: $1" >&2
  echo "       Give this Python its own pip, as root, and run again:" \
    "apt-get install python3-venv" >&2
  exit 1
}

apt() { # lists and cache of its own: no lock, no root
  (cd "$tmp" && apt-get -q -o "Dir::State::lists=$tmp/lists" \
    -o "Dir::Cache=$tmp/cache" -o Debug::NoLocking=true \
    -o "APT::Sandbox::User=$(id -un)" "$@")
}

lend_distutils() { # pip 22 (Ubuntu 22.04) imports it; Debian splits it off, too
  local own
  own=$("$python" -c 'import distutils; print(distutils.__path__[0])' 2>/dev/null) ||
    return 0 # Python 3.12 has none, and its pip needs none
  apt download python3-distutils || return 0
  dpkg-deb -x "$tmp"/python3-distutils_*.deb "$tmp/d"
  mkdir "$tmp/lent"
  cp -R "$own" "$tmp/lent/distutils"
  cp -R "$tmp/d$own/." "$tmp/lent/distutils"
}

debian_wheel() { # prints its path
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || fail "this Python has no ensurepip, and no $tool."
  done
  mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial"
  apt update >&2 || fail "apt-get update failed: is the network there?"
  apt download python3-pip-whl >&2 || fail "apt-get cannot download python3-pip-whl."
  dpkg-deb -x "$tmp"/python3-pip-whl_*.deb "$tmp/x"
  lend_distutils >&2
  ls "$tmp"/x/usr/share/python-wheels/pip-*.whl
}

if "$python" -m ensurepip 2>/dev/null; then
  exec "$python" -m pip install --no-compile "$requirement"
fi
tmp=$env/bootstrap_pip
rm -rf "$tmp"
trap 'rm -rf "$tmp"' EXIT
wheel=$(debian_wheel)
PYTHONPATH=$tmp/lent "$python" "$wheel/pip" install --no-compile "$requirement"
