#!/usr/bin/env bash
# Ask2Mask on Common Voice, English: ./run.sh --help lists the options. Options of this
# recipe's own: --pretrain, --allow_missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960
allow_missing=false
take_option pretrain "$@"
take_option allow_missing "${rest[@]}"

"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" \
    --local_data_opts "--pretrain ${pretrain} --allow_missing ${allow_missing}" \
    --train_set commonvoice_train \
    --valid_set commonvoice_valid \
    --pretrain_set "${pretrain/#librispeech/train}" \
    --test_sets "commonvoice_dev commonvoice_test" \
    --scorer_exp "$(librispeech_scorer)" \
    "${rest[@]}"
