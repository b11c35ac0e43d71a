#!/usr/bin/env bash
# Style and types: ruff, mypy as pyproject.toml says, shellcheck on every shell script.
# The tools are those on PATH (`make lint` puts the environment's first).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

echo "ruff check"
ruff check --quiet .
echo "ruff format --check"
ruff format --quiet --check . || {
  echo "ERROR: these files are not formatted; run: ruff format ." >&2
  ruff format --check . >&2
  exit 1
}
echo "mypy"
mypy
echo "shellcheck"
git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run |
  xargs -0 shellcheck
