#!/usr/bin/env bash
# Ask2Mask on LibriSpeech: ./run.sh --help lists the options; README.md has the paper's
# rows. Options of this recipe's own: --pretrain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960
train_set=train_100      # or train_960
take_option pretrain "$@"
take_option train_set "${rest[@]}"

"${A2M_ROOT}/local/a2m.sh" \
    --local_data_opts "--pretrain ${pretrain} --train_set ${train_set}" \
    --train_set "${train_set}" \
    --valid_set dev \
    --pretrain_set "${pretrain/#librispeech/train}" \
    --test_sets "dev_clean dev_other test_clean test_other" \
    --max_wav_duration 32 \
    --token_type bpe \
    --nbpe 1024 \
    --scorer_config "${A2M_ROOT}"/conf/base/asr_ctc_conformer.yaml \
    --ssl_config "${A2M_ROOT}"/conf/base/ssl_w2vbert_conformer.yaml \
    --asr_config "${A2M_ROOT}"/conf/base/asr_transducer_conformer.yaml \
    --inference_config "${A2M_ROOT}"/conf/decode_transducer.yaml \
    "${rest[@]}"
