# What the run.sh of several recipes need, to be sourced: options that local/a2m.sh does
# not have, and the scorer of another recipe.
# shellcheck shell=bash
#
#   pretrain=librilight_60k
#   take_option pretrain "$@"
#
# sets the variable from --pretrain VALUE or --pretrain=VALUE; the array `rest` has all
# other arguments.

take_option() {
    local name=$1
    shift
    rest=()
    while [ $# -gt 0 ]; do
        case $1 in
            "--${name}")
                [ $# -gt 1 ] || { echo "ERROR: $1 needs a value" >&2; exit 1; }
                printf -v "${name}" '%s' "$2"
                shift
                ;;
            "--${name}="*) printf -v "${name}" '%s' "${1#*=}" ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
}

librispeech_scorer() {  # the paper's scorer, if egs2/librispeech has trained it
    local exp=${A2M_ROOT}/egs2/librispeech/a2m1/exp/scorer_ctc
    [ ! -e "${exp}/.made" ] || echo "${exp}"
}
