#!/usr/bin/env bash
# Ask2Mask on CHiME-6: ./run.sh --help lists the options; README.md has the paper's row.
# Options of this recipe's own: --mic, --pretrain, --allow_missing (local/data.sh --help).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

mic=ihm  # or mdm
pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960, chime6
allow_missing=false
take_option mic "$@"
take_option pretrain "${rest[@]}"
take_option allow_missing "${rest[@]}"

pretrain_set=${pretrain/#librispeech/train}
[ "${pretrain}" != chime6 ] || pretrain_set=${mic}_train

scorer_epochs=175  # a scorer of its own: as many updates on 40 h as on LibriSpeech's 100
[ "${mic}" != mdm ] || scorer_epochs=70

"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" \
    --local_data_opts "--mic ${mic} --pretrain ${pretrain} --allow_missing ${allow_missing}" \
    --train_set "${mic}_train" \
    --valid_set "${mic}_valid" \
    --pretrain_set "${pretrain_set}" \
    --test_sets "ihm_dev dev eval" \
    --scorer_exp "$(librispeech_scorer)" \
    --scorer_args "--max_epoch ${scorer_epochs}" \
    "${rest[@]}"

score_chime6 "${rest[@]}"
