#!/usr/bin/env bash
# a2m.sh for a benchmark corpus: pre-training on Libri-Light by default, with the scorer of
# egs2/librispeech, and the paper's options. Run by egs2/<corpus>/a2m1/run.sh in its own
# directory.
# shellcheck disable=SC2154  # parse_known_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT}/local/corpus_db.sh"
option_list+='local_data_opts | |'
parse_known_options "$@"

pretrain_set=${pretrain/#librispeech/train}
[ "${pretrain}" != "${corpus}" ] || pretrain_set=${train_set}

scorer_exp=${A2M_ROOT}/egs2/librispeech/a2m1/exp/scorer_ctc  # the paper's scorer
[ -e "${scorer_exp}/.made" ] || scorer_exp=  # not trained: train one on train_set

benchmark_options=(  # options that come later win
    --audio_format flac.ark  # Libri-Light would else be ten million files
    --max_wav_duration 32  # the paper's crop
    --token_type bpe
    --nbpe 1024  # the paper's word pieces
    --speed_perturb_factors "0.9 1.0 1.1"  # as ESPnet; the scorer's warm-up needs them
    --scorer_config "${A2M_ROOT}/conf/paper/asr_ctc_conformer_100m.yaml"
    --ssl_config "${A2M_ROOT}/conf/base/ssl_w2vbert_conformer.yaml"
    --asr_config "${A2M_ROOT}/conf/base/asr_transducer_conformer.yaml"
    --inference_config "${A2M_ROOT}/conf/decode_transducer.yaml"
    --scorer_exp "${scorer_exp}"
    --train_set "${train_set}"
    --pretrain_set "${pretrain_set}"
    --local_data_opts "--corpus ${corpus} --train_set ${train_set} --pretrain ${pretrain} --allow_missing ${allow_missing} ${local_data_opts}"
)
"${A2M_ROOT}/local/a2m.sh" "${benchmark_options[@]}" "${rest[@]}"
