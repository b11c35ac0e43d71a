#!/usr/bin/env bash
# Ask2Mask on LibriSpeech: ./run.sh --help lists the options; README.md has the paper's rows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

# the scorer is trained here; --train_set may be train_960
"${A2M_ROOT}/local/benchmark.sh" --corpus librispeech --train_set train_100 --valid_set dev \
    --test_sets "dev_clean dev_other test_clean test_other" --scorer_exp "" "$@"
