#!/usr/bin/env bash
# Ask2Mask on mini LibriSpeech, 5 hours for everything: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

"${A2M_ROOT}/local/a2m.sh" \
    --train_set train_clean_5 \
    --valid_set valid \
    --pretrain_set train_clean_5 \
    --test_sets dev_clean_2 \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --scorer_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --ssl_config "${A2M_ROOT}"/conf/tiny/ssl_w2vbert_conformer.yaml \
    --asr_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --inference_config "${A2M_ROOT}"/conf/decode_ctc.yaml \
    "$@"
