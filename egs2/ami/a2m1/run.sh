#!/usr/bin/env bash
# Ask2Mask on AMI: ./run.sh --help lists the options; README.md has the paper's rows.
# shellcheck disable=SC2034,SC2154  # parse_known_options reads the list and sets mic
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

# shellcheck source=local/parse_options.sh
. "${A2M_ROOT}/local/parse_options.sh"
option_list='mic | ihm | microphone to train with: ihm, sdm1 or mdm8'
parse_known_options "$@"

test_sets="ihm_dev ihm_eval sdm1_dev sdm1_eval"
[ "${mic}" != mdm8 ] || test_sets+=" mdm8_dev mdm8_eval"

# a scorer of its own: as many updates on 80 h as the configuration has on 100
"${A2M_ROOT}/local/benchmark.sh" --corpus ami --train_set "${mic}_train" \
    --valid_set "${mic}_valid" --test_sets "${test_sets}" --scorer_args "--max_epoch 88" \
    "${rest[@]}"
