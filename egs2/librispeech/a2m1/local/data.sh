#!/usr/bin/env bash
# The data directories of LibriSpeech (stage 1), from where db.sh says.
# Run from the recipe's directory, as run.sh does; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets them
set -euo pipefail
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

# shellcheck disable=SC2034
option_list='
pretrain | librilight_60k | pre-training audio
train_set | train_100 | transcribed training set: train_100 or train_960
allow_missing | false | prepare what is there of corpora that are not complete
data | data | where the data directories go
'
parse_options "$@"

prepare_pretrain "${data}" "${pretrain}"
prepare librispeech "${data}" "${train_set}" dev dev_clean dev_other test_clean test_other \
    --required "${train_set}" dev
