# What the mixture is made of, for run.sh and local/data.sh to source in the recipe's
# directory.
# shellcheck shell=bash
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

# corpus | training sets | validation sets | test sets, as prepare_corpus.py names them
mixture='
librispeech | train_960 | dev | dev_clean dev_other test_clean test_other
ami | ihm_train sdm1_train | ihm_dev sdm1_dev | ihm_dev ihm_eval sdm1_dev sdm1_eval
commonvoice | commonvoice_train | commonvoice_dev | commonvoice_dev commonvoice_test
tedlium | tedlium_train | tedlium_dev | tedlium_dev tedlium_test
switchboard | switchboard | |
fisher | fisher | |
wsj | wsj_si284 | wsj_dev93 | wsj_dev93 wsj_eval92
chime6 | | | dev eval
'

each_owned() {  # KIND: "<corpus> <set>" of the kind (train, dev, test) that db.sh has
    local corpus train dev tests sets name
    while IFS='|' read -r corpus train dev tests; do
        read -r corpus <<<"${corpus}"
        [ -n "${corpus}" ] && [ -n "$(place_of "${corpus}")" ] || continue
        case $1 in
            train) read -ra sets <<<"${train}" ;;
            dev) read -ra sets <<<"${dev}" ;;
            test) read -ra sets <<<"${tests}" ;;
        esac
        for name in "${sets[@]}"; do echo "${corpus} ${name}"; done
    done <<<"${mixture}"
}

each_absent() {  # the corpora that db.sh does not have
    local corpus rest
    while IFS='|' read -r corpus rest; do
        read -r corpus <<<"${corpus}"
        [ -z "${corpus}" ] || [ -n "$(place_of "${corpus}")" ] || echo "${corpus}"
    done <<<"${mixture}"
}

test_name() {  # CORPUS SET: the data directory of a test set
    [[ $2 == "$1"* ]] && echo "$2" || echo "$1_$2"
}

all_test_names() {
    local corpus name
    while read -r corpus name; do test_name "${corpus}" "${name}"; done < <(each_owned test)
}
