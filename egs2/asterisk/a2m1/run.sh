#!/usr/bin/env bash
# Ask2Mask on the Asterisk core sounds: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

"${A2M_ROOT}/local/a2m.sh" \
    --train_set train_sup \
    --valid_set dev \
    --pretrain_set pretrain \
    --test_sets "test_clean test_far" \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --target_lang en \
    --scorer_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --label_tag scorer3 \
    --label_features exp/scorer_ctc \
    --label_layer 3 \
    --num_clusters 50 \
    --km_hours 0.25 \
    --ssl_config "${A2M_ROOT}"/conf/tiny/ssl_hubert_conformer.yaml \
    --asr_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --inference_config "${A2M_ROOT}"/conf/decode_ctc.yaml \
    "$@"
