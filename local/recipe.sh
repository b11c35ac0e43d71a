# What the run.sh of several recipes need, to be sourced: options that local/a2m.sh does
# not have, the options that recipes of large corpora share, the scorer of another recipe.
# shellcheck shell=bash
#
#   pretrain=librilight_60k
#   take_option pretrain "$@"
#
# sets the variable from --pretrain VALUE or --pretrain=VALUE, dashes in the name for
# underscores; the array `rest` has all other arguments.

take_option() {
    local name=$1 option
    shift
    rest=()
    while [ $# -gt 0 ]; do
        option=${1%%=*}
        option=${option//-/_}
        if [[ ${1:0:2} != -- || ${option} != "__${name}" ]]; then
            rest+=("$1")
        elif [[ $1 == *=* ]]; then
            printf -v "${name}" '%s' "${1#*=}"
        else
            [ $# -gt 1 ] || { echo "ERROR: $1 needs a value" >&2; exit 1; }
            printf -v "${name}" '%s' "$2"
            shift
        fi
        shift
    done
    export A2M_RECIPE_OPTIONS+="  --${name} [${!name}]"$'\n'  # for --help
}

librispeech_scorer() {  # the paper's scorer, if egs2/librispeech has trained it
    local exp=${A2M_ROOT}/egs2/librispeech/a2m1/exp/scorer_ctc
    [ ! -e "${exp}/.made" ] || echo "${exp}"
}

# shellcheck disable=SC2034  # run.sh's read it; options that come later win
benchmark_options=(
    --audio_format flac.ark  # Libri-Light would else be ten million files
    --max_wav_duration 32  # the paper's crop
    --token_type bpe
    --nbpe 1024  # the paper's word pieces
    --speed_perturb_factors "0.9 1.0 1.1"  # as ESPnet; the scorer's warm-up needs them
    --scorer_config "${A2M_ROOT}/conf/paper/asr_ctc_conformer_100m.yaml"
    --ssl_config "${A2M_ROOT}/conf/base/ssl_w2vbert_conformer.yaml"
    --asr_config "${A2M_ROOT}/conf/base/asr_transducer_conformer.yaml"
    --inference_config "${A2M_ROOT}/conf/decode_transducer.yaml"
)

score_chime6() {  # ARGUMENTS...: CHiME-6 per session and location, of what is decoded by now
    local argument expdir=exp dumpdir=dump python=python3
    for argument; do
        [[ ${argument} != -h && ${argument} != --help ]] || return 0
    done
    take_option expdir "$@"
    take_option dumpdir "${rest[@]}"
    take_option python "${rest[@]}"
    "${python}" -m espnet_a2m.bin.chime6_score --expdir "${expdir}" --dumpdir "${dumpdir}"
}
