#!/usr/bin/env bash
# The data directories of TED-LIUM (stage 1), from where db.sh says.
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
data | data | where the data directories go
'
parse_options "$@"

prepare_pretrain "${data}" "${pretrain}"
prepare tedlium "${data}" tedlium_train tedlium_dev tedlium_test
copy_set "${data}/tedlium_dev" "${data}/tedlium_valid"
