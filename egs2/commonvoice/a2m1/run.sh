#!/usr/bin/env bash
# Ask2Mask on Common Voice, English: ./run.sh --help lists the options. Options of this
# recipe's own: --pretrain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960
take_option pretrain "$@"

"${A2M_ROOT}/local/a2m.sh" \
    --local_data_opts "--pretrain ${pretrain}" \
    --train_set commonvoice_train \
    --valid_set commonvoice_valid \
    --pretrain_set "${pretrain/#librispeech/train}" \
    --test_sets "commonvoice_dev commonvoice_test" \
    --max_wav_duration 32 \
    --token_type bpe \
    --nbpe 1024 \
    --scorer_exp "$(librispeech_scorer)" \
    --scorer_config "${A2M_ROOT}"/conf/base/asr_ctc_conformer.yaml \
    --ssl_config "${A2M_ROOT}"/conf/base/ssl_w2vbert_conformer.yaml \
    --asr_config "${A2M_ROOT}"/conf/base/asr_transducer_conformer.yaml \
    --inference_config "${A2M_ROOT}"/conf/decode_transducer.yaml \
    "${rest[@]}"
