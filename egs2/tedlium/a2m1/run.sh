#!/usr/bin/env bash
# Ask2Mask on TED-LIUM: ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

"${A2M_ROOT}/local/benchmark.sh" --corpus tedlium --train_set tedlium_train \
    --valid_set tedlium_valid --test_sets "tedlium_dev tedlium_test" "$@"
