#!/usr/bin/env bash
# `make test`: environments if missing, lint, the short tests of what uses ESPnet under
# the newer one where a Python 3.12 is found, then all tests; pytest's closing line comes
# last.
#
#   [VENV=.venv] [PYTHON=...] [PYTHON312=auto|path|] [WORKERS=2] \
#       tools/test.sh [pytest options]
#
# The files of tests are spread over WORKERS processes, those that take long first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
python=${PYTHON:-}
second=${PYTHON312-auto}
parallel=(-n "${WORKERS:-2}" --dist loadfile --no-loadscope-reorder)

# The older ESPnet runs on Python < 3.12 only, the newer one on >= 3.12.
find_second() {
  local main=${python:-}
  [ -n "$second" ] || return 0
  [ -n "$main" ] || [ ! -x "$venv/bin/python" ] || main=$venv/bin/python
  [ -n "$main" ] || main=$(tools/find_python.sh)
  if "$main" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    second=
  elif [ "$second" = auto ]; then
    second=$(tools/find_python.sh 3.12 2>/dev/null || true)
    [ -n "$second" ] ||
      echo "No Python 3.12 found: the short tests under the newer ESPnet are left out."
  fi
}

find_second
if [ -n "$second" ]; then # most of the time goes into waiting, so both at once
  tools/make_env.sh .venv312 test "$second" &
  other=$!
  trap 'kill "$other" 2>/dev/null || true' EXIT
  tools/make_env.sh "$venv" dev ${python:+"$python"}
  wait "$other"
  trap - EXIT
else
  tools/make_env.sh "$venv" dev ${python:+"$python"}
fi

PATH="$PWD/$venv/bin:$PATH" tools/lint.sh

if [ -n "$second" ]; then
  echo "Short tests under Python 3.12 and the newer ESPnet"
  # Unit tests alone, as they may not import ESPnet. Tests of recipes are left out: they
  # read corpora and run the shell of the stages, neither of which depends on ESPnet.
  for which in unit "espnet and not slow"; do
    PATH="$PWD/.venv312/bin:$PATH" .venv312/bin/python -m pytest "${parallel[@]}" -m "$which" "$@" || {
      rc=$?
      [ "$rc" = 5 ] || exit "$rc" # 5: nothing selected
    }
  done
fi

echo "All tests"
PATH="$PWD/$venv/bin:$PATH" exec "$venv/bin/python" -m pytest "${parallel[@]}" "$@"
