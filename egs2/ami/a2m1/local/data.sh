#!/usr/bin/env bash
# The data directories of AMI (stage 1), from where db.sh says.
# Run from the recipe's directory, as run.sh does; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets them
set -euo pipefail
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

# shellcheck disable=SC2034
option_list='
mic | ihm | microphone to train with: ihm, sdm1 or mdm8
pretrain | librilight_60k | pre-training audio; ami: the training set
allow_missing | false | prepare what is there of an AMI that is not complete
data | data | where the data directories go
'
parse_options "$@"

[ "${pretrain}" = ami ] || prepare_pretrain "${data}" "${pretrain}"
sets=("${mic}_train" {ihm,sdm1}_{dev,eval})
[ "${mic}" != mdm8 ] || sets+=(mdm8_{dev,eval})
prepare ami "${data}" "${sets[@]}" \
    --required "${mic}_train" "${mic}_dev" \
    ${AMI_MANUAL:+--annotations "${AMI_MANUAL}"}
copy_set "${data}/${mic}_dev" "${data}/${mic}_valid"
