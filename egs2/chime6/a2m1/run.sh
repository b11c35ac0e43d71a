#!/usr/bin/env bash
# Ask2Mask on CHiME-6: ./run.sh --help lists the options; README.md has the paper's row.
# shellcheck disable=SC2034,SC2154  # parse_known_options reads the list and sets mic
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./path.sh

# shellcheck source=local/parse_options.sh
. "${A2M_ROOT}/local/parse_options.sh"
option_list='mic | ihm | microphones to train with: ihm (worn) or mdm (arrays)'
parse_known_options "$@"

scorer_epochs=175  # a scorer of its own: as many updates on 40 h as on LibriSpeech's 100
[ "${mic}" != mdm ] || scorer_epochs=70

"${A2M_ROOT}/local/benchmark.sh" --corpus chime6 --train_set "${mic}_train" \
    --valid_set "${mic}_valid" --test_sets "ihm_dev dev eval" \
    --scorer_args "--max_epoch ${scorer_epochs}" "${rest[@]}"
