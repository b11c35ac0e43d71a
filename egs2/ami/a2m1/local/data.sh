#!/usr/bin/env bash
# Stage 1 for AMI: --help lists the options.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"
parse_data_options "$@"

mic=${train_set%_train}
sets=({ihm,sdm1}_{dev,eval})
[ "${mic}" != mdm8 ] || sets+=(mdm8_{dev,eval})
prepare_pretrain
prepare ami "${data}" "${train_set}" "${sets[@]}" --required "${train_set}" "${mic}_dev"
copy_set "${data}/${mic}_dev" "${data}/${mic}_valid"
