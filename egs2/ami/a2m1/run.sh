#!/usr/bin/env bash
# Ask2Mask on AMI: ./run.sh --help lists the options; README.md has the paper's rows.
# Options of this recipe's own: --mic, --pretrain, --allow_missing (local/data.sh --help).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh
. ./cmd.sh
# shellcheck source=local/recipe.sh
. "${A2M_ROOT}/local/recipe.sh"

mic=ihm  # or sdm1, mdm8
pretrain=librilight_60k  # or librilight_6k, librilight_600, librispeech_960, ami
allow_missing=false
take_option mic "$@"
take_option pretrain "${rest[@]}"
take_option allow_missing "${rest[@]}"

pretrain_set=${pretrain/#librispeech/train}
[ "${pretrain}" != ami ] || pretrain_set=${mic}_train
test_sets="ihm_dev ihm_eval sdm1_dev sdm1_eval"
[ "${mic}" != mdm8 ] || test_sets+=" mdm8_dev mdm8_eval"

# a scorer of its own: as many updates on 80 h as the configuration has on 100
"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" \
    --local_data_opts "--mic ${mic} --pretrain ${pretrain} --allow_missing ${allow_missing}" \
    --train_set "${mic}_train" \
    --valid_set "${mic}_valid" \
    --pretrain_set "${pretrain_set}" \
    --test_sets "${test_sets}" \
    --scorer_exp "$(librispeech_scorer)" \
    --scorer_args "--max_epoch 88" \
    "${rest[@]}"
