#!/usr/bin/env bash
# The data directories of CHiME-6 (stage 1), from where db.sh says.
# Run from the recipe's directory, as run.sh does; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets them
set -euo pipefail
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

# shellcheck disable=SC2034
option_list='
mic | ihm | microphones to train with: ihm (worn) or mdm (arrays)
pretrain | librilight_60k | pre-training audio; chime6: the training set
allow_missing | false | prepare what is there of a CHiME-6 that is not complete
data | data | where the data directories go
'
parse_options "$@"

[ "${pretrain}" = chime6 ] || prepare_pretrain "${data}" "${pretrain}"
valid=ihm_dev
[ "${mic}" != mdm ] || valid=dev
prepare chime6 "${data}" "${mic}_train" ihm_dev dev eval \
    --required "${mic}_train" "${valid}"
copy_set "${data}/${valid}" "${data}/${mic}_valid"
