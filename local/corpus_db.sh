# Data directories of the corpora that db.sh names, for a recipe's local/data.sh, which
# sources this in the recipe's directory.
# shellcheck shell=bash

shared=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)  # this directory
# shellcheck disable=SC1091
. ./db.sh

place_of() {  # CORPUS: what db.sh says of it
    local name=${1^^}
    echo "${!name:-}"
}

prepare() {  # CORPUS DATA SET...: make DATA/SET of the corpus, as --allow_missing says
    local corpus=$1 data=$2 place download=()
    shift 2
    place=$(place_of "${corpus}")
    [ "${place}" != downloads ] || download=(--download true --download_dir downloads)
    "${python:-python3}" -m espnet_a2m.bin.data prepare_corpus "${corpus}" --data "${data}" --sets "$@" \
        --corpus_dir "${place}" --allow_missing "${allow_missing:-false}" "${download[@]}"
}

copy_set() {  # FROM TO: validation data are filtered by length, test sets are not
    rm -rf "$2" "$2.tmp"
    cp -r "$1" "$2.tmp"
    mv "$2.tmp" "$2"
}

prepare_pretrain() {  # DATA NAME: make the pre-training set
    case $2 in
        librilight_*) prepare librilight "$1" "$2" --required "$2" ;;
        librispeech_960) prepare librispeech "$1" train_960 --required train_960 ;;
        *)
            echo "ERROR: --pretrain $2: librilight_60k, librilight_6k, librilight_600" \
                "or librispeech_960 can be pre-trained on" >&2
            exit 1
            ;;
    esac
}

# The whole of local/data.sh, where a corpus has a training, a dev and a test set.
one_corpus() {  # CORPUS OPTIONS...
    local corpus=$1
    shift
    # shellcheck source=local/parse_options.sh
    . "${shared}/parse_options.sh"
    # shellcheck disable=SC2034
    option_list='
    pretrain | librilight_60k | pre-training audio
    allow_missing | false | prepare what is there of corpora that are not complete
    data | data | where the data directories go
    '
    parse_options "$@"
    # shellcheck disable=SC2154  # parse_options sets them
    prepare_pretrain "${data}" "${pretrain}"
    prepare "${corpus}" "${data}" "${corpus}"_{train,dev,test} \
        --required "${corpus}"_{train,dev}
    copy_set "${data}/${corpus}_dev" "${data}/${corpus}_valid"
}
