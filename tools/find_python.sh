#!/usr/bin/env bash
# Prints the path of a Python that runs and has a supported version.
#
#   tools/find_python.sh             python3 if it is 3.10-3.13, else another one found
#   tools/find_python.sh 3.12        a Python of exactly this version
#   tools/find_python.sh ~/bin/py    this program
#
# A name on PATH may be a pyenv shim that fails for want of an active version, so
# candidates are run; pyenv's own versions are looked at after PATH.
# Exits 1, saying what was found, when there is none.
set -euo pipefail

want=${1:-}
versions=(3.11 3.12 3.13 3.10)
[[ $want != 3.* ]] || versions=("$want")

candidates() {
  local root
  if [ -n "$want" ] && [ "$want" != "${versions[0]}" ]; then
    echo "$want"
    return
  fi
  [ -n "$want" ] || echo python3
  printf 'python%s\n' "${versions[@]}"
  root=$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")
  for version in "${versions[@]}"; do
    printf '%s\n' "$root/versions/$version".*/bin/python
  done
}

seen=
while read -r candidate; do
  path=$(command -v "$candidate" 2>/dev/null) || continue
  version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null) ||
    continue
  if [[ " ${versions[*]} " == *" $version "* ]]; then
    "$path" -c 'import sys; print(sys.executable)'
    exit 0
  fi
  seen+=" $path ($version)"
done < <(candidates)

{
  echo "ERROR: no Python of version ${versions[*]} found${want:+ ($want)}; seen:${seen:- none}."
  echo "       Install one (Debian, Ubuntu: apt-get install python3) or name one:" \
    "make ... PYTHON=/path/to/python3.11"
} >&2
exit 1
