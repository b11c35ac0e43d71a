#!/usr/bin/env bash
# Ask2Mask on LibriSpeech: ./run.sh --help lists the options; README.md has the paper's
# rows. Options of this recipe's own: --pretrain, --allow_missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960
train_set=train_100      # or train_960
allow_missing=false
take_option pretrain "$@"
take_option allow_missing "${rest[@]}"
take_option train_set "${rest[@]}"

"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" \
    --local_data_opts "--pretrain ${pretrain} --allow_missing ${allow_missing} --train_set ${train_set}" \
    --train_set "${train_set}" \
    --valid_set dev \
    --pretrain_set "${pretrain/#librispeech/train}" \
    --test_sets "dev_clean dev_other test_clean test_other" \
    "${rest[@]}"
