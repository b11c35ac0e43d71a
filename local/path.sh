# shellcheck shell=bash
# What a recipe needs to find; sourced by its path.sh.
A2M_ROOT=${A2M_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export A2M_ROOT
export PYTHONPATH=${A2M_ROOT}${PYTHONPATH:+:${PYTHONPATH}}
# the environment that `make env` makes, unless one is active
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "${A2M_ROOT}/.venv/bin/python3" ]; then
    export PATH=${A2M_ROOT}/.venv/bin:${PATH}
fi
export PATH=${A2M_ROOT}/local:${PATH}  # the programs that cmd.sh names
export LC_ALL=C.UTF-8 PYTHONIOENCODING=UTF-8
