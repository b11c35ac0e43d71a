#!/usr/bin/env bash
# Stage 1 for LibriSpeech: --help lists the options.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"
parse_data_options "$@"

prepare_pretrain
prepare librispeech "${data}" "${train_set}" dev dev_clean dev_other test_clean test_other \
    --required "${train_set}" dev
