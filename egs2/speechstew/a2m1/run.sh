#!/usr/bin/env bash
# Ask2Mask, fine-tuned on the corpora that db.sh names (SpeechStew): ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

# shellcheck source=egs2/speechstew/a2m1/local/mixture.sh
. local/mixture.sh

"${A2M_ROOT}/local/benchmark.sh" --corpus speechstew --train_set speechstew_train \
    --valid_set speechstew_dev --test_sets "$(all_test_names | tr '\n' ' ')" "$@"
