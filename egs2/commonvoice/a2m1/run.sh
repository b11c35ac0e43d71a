#!/usr/bin/env bash
# Ask2Mask on Common Voice, English: ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

"${A2M_ROOT}/local/benchmark.sh" --corpus commonvoice --train_set commonvoice_train \
    --valid_set commonvoice_valid --test_sets "commonvoice_dev commonvoice_test" "$@"
