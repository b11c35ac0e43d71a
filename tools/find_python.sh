#!/usr/bin/env bash
# Prints the path of a Python that runs and has a supported version.
#
#   tools/find_python.sh           python3 if it is 3.10-3.13, else another one found
#   tools/find_python.sh 3.12      a Python of exactly this version
#
# A name on PATH may be a pyenv shim that fails for want of an active version, so
# candidates are run; pyenv's own versions are looked at after PATH.
# Exits 1, saying what was found, when there is none.
set -euo pipefail

want=${1:-}

version_of() { # "3.11", or nothing when it does not run
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null ||
    true
}

supported() {
  if [ -n "$want" ]; then [ "$1" = "$want" ]; else
    case $1 in 3.10 | 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac
  fi
}

candidates() {
  local root v
  if [ -n "$want" ]; then
    echo "python$want"
  else
    printf '%s\n' python3 python3.11 python3.12 python3.13 python3.10
  fi
  root=$(pyenv root 2>/dev/null || true)
  for v in ${want:-3.11 3.12 3.13 3.10}; do
    printf '%s\n' "${root:-$HOME/.pyenv}/versions/$v".*/bin/python
  done
}

seen=
while read -r candidate; do
  path=$(command -v "$candidate" 2>/dev/null) || continue
  version=$(version_of "$path")
  if supported "$version"; then
    "$path" -c 'import sys; print(sys.executable)'
    exit 0
  fi
  [ -z "$version" ] || seen+=" $path ($version)"
done < <(candidates)

{
  echo "ERROR: no Python ${want:-3.10, 3.11, 3.12 or 3.13} found; seen:${seen:- none}."
  echo "       Install one (Debian, Ubuntu: apt-get install python3) or name one:" \
    "make ... PYTHON=/path/to/python3.11"
} >&2
exit 1
