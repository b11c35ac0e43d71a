# shellcheck shell=bash
# What a recipe needs to find. Each recipe's path.sh is a link to this file and is sourced
# in the recipe's directory.
A2M_ROOT=${A2M_ROOT:-$(cd ../../.. && pwd)}
export A2M_ROOT
A2M_OPTIONS=$(printf '%q ' "$@")  # of run.sh, which a sweep runs again with others
export A2M_OPTIONS
export PYTHONPATH=${A2M_ROOT}${PYTHONPATH:+:${PYTHONPATH}}
# the environment that `make env` makes, unless one is active
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "${A2M_ROOT}/.venv/bin/python3" ]; then
    export PATH=${A2M_ROOT}/.venv/bin:${PATH}
fi
export PATH=${A2M_ROOT}/local:${PATH}  # the programs that cmd.sh names
export LC_ALL=C.UTF-8 PYTHONIOENCODING=UTF-8
