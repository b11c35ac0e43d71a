#!/usr/bin/env bash
# Ask2Mask on your own recordings, which db.sh names: ./run.sh --help lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./db.sh

sets=(--train_set own_transcribed --test_sets own_test)
[ "${TRANSCRIPTS}" = true ] || sets=(--train_set "" --test_sets "" --scorer energy)

"${A2M_ROOT}/local/a2m.sh" "${sets[@]}" \
    --valid_set own_valid \
    --pretrain_set own \
    --max_wav_duration 32 \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --scorer_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --ssl_config "${A2M_ROOT}"/conf/tiny/ssl_w2vbert_conformer.yaml \
    --asr_config "${A2M_ROOT}"/conf/tiny/asr_ctc_conformer.yaml \
    --inference_config "${A2M_ROOT}"/conf/decode_ctc.yaml \
    "$@"
