# Options and functions of local/data.sh of the benchmark corpora, to be sourced in a
# recipe's directory: preparation of the corpora that db.sh names.
# shellcheck shell=bash disable=SC2034,SC2154  # parse_options sets the options

# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck disable=SC1091
. ./db.sh

# Those without a help text are for run.sh.
option_list='
pretrain | librilight_60k | pre-training audio: librilight_60k, librilight_6k, librilight_600, librispeech_960; the name of the corpus: its training set
allow_missing | false | prepare what is there of a corpus that is incomplete
corpus | |
train_set | |
'

parse_data_options() {
    option_list+='data | data | directory of the data directories
'
    parse_options "$@"
}

place_of() {  # CORPUS: what db.sh says of it
    local name=${1^^}
    echo "${!name:-}"
}

prepare() {  # CORPUS DATA SET...: write the data directories DATA/SET
    local corpus=$1 data=$2 place manual=${1^^}_MANUAL more=()
    shift 2
    place=$(place_of "${corpus}")
    [ "${place}" != downloads ] || more+=(--download true --download_dir downloads)
    [ -z "${!manual:-}" ] || more+=(--annotations "${!manual}")
    "${python:-python3}" -m espnet_a2m.bin.data prepare_corpus "${corpus}" --data "${data}" \
        --corpus_dir "${place}" --allow_missing "${allow_missing:-false}" "${more[@]}" --sets "$@"
}

prepare_pretrain() {  # the pre-training set, unless it is the training set
    case ${pretrain} in
        librilight_*) prepare librilight "${data}" "${pretrain}" --required "${pretrain}" ;;
        librispeech_960) prepare librispeech "${data}" train_960 --required train_960 ;;
        "${corpus}") ;;
        *)
            die "--pretrain ${pretrain}: choose librilight_60k, librilight_6k," \
                "librilight_600 or librispeech_960, or ${corpus} for its training set"
            ;;
    esac
}

copy_set() {  # FROM TO: validation sets are filtered by length, test sets are not
    rm -rf "$2" "$2.tmp"
    cp -r "$1" "$2.tmp"
    mv "$2.tmp" "$2"
}
