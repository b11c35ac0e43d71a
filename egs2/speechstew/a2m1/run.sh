#!/usr/bin/env bash
# Ask2Mask, fine-tuned on the corpora that db.sh names (SpeechStew): ./run.sh --help
# lists the options. Options of this recipe's own: --pretrain, --allow_missing
# (local/data.sh --help).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"
# shellcheck source=egs2/speechstew/a2m1/local/mixture.sh
. local/mixture.sh

pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960
allow_missing=false
take_option pretrain "$@"
take_option allow_missing "${rest[@]}"

"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" \
    --local_data_opts "--pretrain ${pretrain} --allow_missing ${allow_missing}" \
    --train_set speechstew_train \
    --valid_set speechstew_dev \
    --pretrain_set "${pretrain/#librispeech/train}" \
    --test_sets "$(all_test_names | tr '\n' ' ')" \
    --scorer_exp "$(librispeech_scorer)" \
    "${rest[@]}"

score_chime6 "${rest[@]}"
