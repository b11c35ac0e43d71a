#!/usr/bin/env bash
# Ask2Mask on newcorpus: ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

"${A2M_ROOT}/local/benchmark.sh" --corpus newcorpus --train_set newcorpus_train \
    --valid_set newcorpus_valid --test_sets "newcorpus_dev newcorpus_test" "$@"
