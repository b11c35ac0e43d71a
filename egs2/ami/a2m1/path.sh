# shellcheck shell=bash
. "${A2M_ROOT:-../../..}/local/path.sh"
