#!/usr/bin/env bash
# The data directories of mini LibriSpeech (stage 1), from where db.sh says.
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

prepare librispeech data train_clean_5 dev_clean_2
copy_set data/dev_clean_2 data/valid
