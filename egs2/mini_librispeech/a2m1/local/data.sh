#!/usr/bin/env bash
# Stage 1 for mini LibriSpeech.
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

prepare librispeech data train_clean_5 dev_clean_2
copy_set data/dev_clean_2 data/valid
