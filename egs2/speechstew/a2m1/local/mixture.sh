# The sets of the mixture, for run.sh and local/data.sh to source in the recipe's directory.
# shellcheck shell=bash disable=SC2034  # each_set reads train, dev and test by name
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

# corpus | training sets | validation sets | test sets
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

each_set() {  # KIND...: "<corpus> <set>" of these kinds, of the corpora that db.sh has
    local corpus train dev test kind name
    while IFS='|' read -r corpus train dev test; do
        read -r corpus <<<"${corpus}"
        [ -n "${corpus}" ] && [ -n "$(place_of "${corpus}")" ] || continue
        for kind; do
            for name in ${!kind}; do echo "${corpus} ${name}"; done
        done
    done <<<"${mixture}"
}

absent_corpora() {  # those that db.sh does not have
    local corpus
    while IFS=' |' read -r corpus _; do
        [ -z "${corpus}" ] || [ -n "$(place_of "${corpus}")" ] || echo "${corpus}"
    done <<<"${mixture}"
}

test_name() {  # CORPUS SET: the data directory of a test set
    [[ $2 == "$1"* ]] && echo "$2" || echo "$1_$2"
}

all_test_names() {
    local corpus name
    while read -r corpus name; do test_name "${corpus}" "${name}"; done < <(each_set test)
}
