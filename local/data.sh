#!/usr/bin/env bash
# Stage 1 for a corpus with a training, a dev and a test set: <corpus>_{train,dev,test},
# and <corpus>_valid, a copy of dev. A recipe's local/data.sh may be a link to this file.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"
parse_data_options "$@"

prepare_pretrain
prepare "${corpus}" "${data}" "${corpus}"_{train,dev,test} --required "${corpus}"_{train,dev}
copy_set "${data}/${corpus}_dev" "${data}/${corpus}_valid"
