#!/usr/bin/env bash
# Stage 1 for CHiME-6: --help lists the options.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"
parse_data_options "$@"

mic=${train_set%_train}
dev=ihm_dev
[ "${mic}" != mdm ] || dev=dev
prepare_pretrain
prepare chime6 "${data}" "${train_set}" ihm_dev dev eval --required "${train_set}" "${dev}"
copy_set "${data}/${dev}" "${data}/${mic}_valid"
