#!/usr/bin/env bash
# Ask2Mask from a corpus to RESULTS.md: the stages of all recipes. Run by
# egs2/<corpus>/a2m1/run.sh in its own directory; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets the options
set -euo pipefail

shared=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)  # this directory
# shellcheck source=local/parse_options.sh
. "${shared}/parse_options.sh"
# shellcheck source=local/steps.sh
. "${shared}/steps.sh"

# shellcheck disable=SC1091
[ ! -e cmd.sh ] || . ./cmd.sh

option_list='
# Stages
stage | 1 | first stage to run
stop_stage | 17 | last stage to run
skip_stages | | stages to skip, such as "2 9"
skip_data_prep | false | skip stages 1-5
skip_train | false | skip stages 6-13
skip_eval | false | skip stages 14-15
skip_packing | true | skip stage 16
skip_upload_hf | true | skip stage 17
# Sweep (docs/sweeps.md)
sweep | | run a grid of systems and seeds, such as conf/sweeps/guidance.yaml, and compare them
sweep_nj | 1 | cells of the grid at the same time; each gets ngpu GPUs of its own
describe | false |
# Machine
ngpu | 0 | GPUs per machine for training; 0: CPU
num_nodes | 1 | machines for training, each with ngpu GPUs; cuda_cmd names the cluster
nj | 2 | parallel jobs of data preparation
inference_nj | 2 | parallel jobs of decoding, run as those of scoring_nj
scoring_nj | 1 | parallel jobs of confidence scoring and labelling, run by cuda_cmd, without GPUs by train_cmd
num_threads | 2 | CPU threads of training and confidence scoring
python | python3 | Python interpreter
dumpdir | dump | directory of formatted audio
expdir | exp | directory of models and results
# Data (stages 1-5)
train_set | train_sup | transcribed training set, for the scorer and for fine-tuning; "": pre-train only
valid_set | dev | validation set
pretrain_set | pretrain | pre-training set; transcripts are not read
test_sets | test | test sets
local_data_opts | | options for local/data.sh
speed_perturb_factors | | such as "0.9 1.0 1.1", for train_set only
allow_pipes | false | run commands in wav.scp, such as "sph2pipe a.sph |"
skip_bad_audio | false | leave out utterances whose audio is missing or damaged; bad_audio.txt lists them
audio_format | flac | flac, wav, flac.ark or wav.ark
fs | 16000 | sampling rate in Hz
min_wav_duration | 0.1 | minimum utterance length in seconds
max_wav_duration | 30.0 | maximum utterance length in seconds; test sets are not filtered
token_type | char | char or bpe
nbpe | 300 | BPE vocabulary size
# Scorer (stages 6-8)
scorer | espnet | confidence model: espnet, hf, ctm, energy or package.module:Class
scorer_conf | | its options, such as "file=all.ctm gap=0.1" (docs/scorers.md)
trust_checkpoint | false | load checkpoints that can run programs
scorer_config | conf/train_scorer.yaml | ESPnet ASR configuration with CTC
scorer_args | | options for espnet_a2m.bin.asr_train
scorer_tag | | experiment name; default: ctc, or the scorer
scorer_exp | | directory of a trained ESPnet ASR model; skips stages 6-7
scorer_model | | its checkpoint; also one beside its config.yaml, a packed model or a name on a hub
inference_scorer_model | valid.loss.ave.pth | checkpoint of scorer_exp
measure | max_prob | frame confidence: max_prob (eq. 2), entropy, margin or nonblank (1 - p(blank))
blank | exclude | the blank in the measure of a frame: include (eq. 2 read literally), exclude or renormalise
score_temperature | 1.0 | divides the log posteriors; above 1 flattens a peaky scorer
target_lang | | utt2lang value of the target domain, for the report
num_plots | 4 | number of utterances in the plots
report_args | | options for espnet_a2m.bin.confidence_report, such as "--ctm ali.ctm --group_by accent"
# Pseudo-labels for HuBERT (stage 9)
label_tag | | label set name; default: no labels, and stage 9 is skipped
label_features | mfcc | mfcc, or the directory of a pre-trained or ASR model, such as exp/scorer_ctc
label_model | | its checkpoint; default: the best one
label_layer | 6 | its encoder layer, from 1
num_clusters | 500 | k-means clusters
label_kmeans | | k-means of an earlier fit on the same features, km.npz or of scikit-learn; default: fit one
km_hours | 100.0 | hours of pretrain_set, sampled at random, for the k-means; 0: all
# Pre-training (stages 10-11)
ssl_config | conf/train_ssl.yaml | configuration of espnet_a2m.bin.ssl_train
ssl_args | | options for espnet_a2m.bin.ssl_train
ssl_tag | atm | experiment name
ssl_init | | pre-trained model to continue from, with config.yaml beside (docs/finetuning.md)
stats_hours | 100.0 | hours of pretrain_set, sampled at random, for the feature statistics; 0: all
num_splits_ssl | 0 | splits of pretrain_set, of which a process loads one at a time; 0: of half a million utterances
inference_ssl_model | | checkpoint to fine-tune; default: the best one
# Fine-tuning (stages 12-13)
asr_config | conf/train_asr.yaml | ESPnet ASR configuration
asr_args | | options for espnet_a2m.bin.asr_train
asr_tag | | experiment name; default: ssl_tag
# Decoding (stages 14-15)
inference_config | conf/decode.yaml | configuration of espnet2.bin.asr_inference
inference_args | | options for espnet2.bin.asr_inference
inference_asr_model | valid.loss.ave.pth | checkpoint to decode with
eval_scorer | true | also decode with the scorer, which is trained from scratch
# Publishing (stages 16-17)
pack_ssl | true | also export and pack the pre-trained model; not every encoder can be exported
hf_repo | | user/name on the Hugging Face Hub
'
parse_options "$@"
# stages that read transcripts
[ -n "${train_set}" ] || skip_stages+=" 2 5 6 7 12 13 14 15" test_sets=
# shellcheck source=local/sweep.sh
. "${shared}/sweep.sh"
[ -z "${sweep}" ] || run_sweep  # does not return
# shellcheck source=local/names.sh
. "${shared}/names.sh"
# shellcheck source=local/training.sh
. "${shared}/training.sh"
if [ "${describe}" = true ]; then
    describe_run
    exit
fi
trap report_failure EXIT

! will_run 15 || "${python}" -m espnet_a2m.bin.report tools  # before hours are spent
! will_run 17 || [[ ${hf_repo} == */* ]] ||
    refuse hf_repo "is no user/name for stage 17 to upload to"
check_configs

# --- Stages ---------------------------------------------------------------------
data_tool() { "${python}" -m espnet_a2m.bin.data "$@"; }
pipes=(--allow_pipes "${allow_pipes}")
reading=("${pipes[@]}" --skip_bad_audio "${skip_bad_audio}")

if want 1 "data: local/data.sh"; then
    local/data.sh "${data_options[@]}"
    [ -z "${train_set}" ] || data_tool check_data_dir "${reading[@]}" --need text \
        "data/${train_set}" "data/${valid_set}" "${tests[@]/#/data/}"
    data_tool check_data_dir "${reading[@]}" "data/${pretrain_set}" "data/${valid_set}"
fi

if want 2 "speed perturbation of ${train_set}: ${speed_perturb_factors:-none}"; then
    need "data/${train_set}/wav.scp" 1
    [ -z "${speed_perturb_factors}" ] ||
        data_tool perturb_speed --factors "${speed_perturb_factors}" "${pipes[@]}" \
            "data/${train_set}" "data/${train_set}_sp"
fi

if want 3 "format audio: ${audio_format}, ${fs} Hz"; then
    # test sets are not filtered by length: they have their final place already
    for out in "${filtered[@]/#/${raw}/org/}" "${tests[@]/#/${raw}/}"; do
        name=${out##*/}
        need "data/${name}/wav.scp" 1
        data_tool format_wav --fs "${fs}" --nj "${nj}" --audio_format "${audio_format}" \
            "${reading[@]}" "data/${name}" "${out}"
    done
fi

if want 4 "length filter: ${min_wav_duration} to ${max_wav_duration} s"; then
    for name in "${filtered[@]}"; do
        org=${raw}/org/${name}
        need "${org}/wav.scp" 3
        data_tool filter_lengths --min_wav_duration "${min_wav_duration}" \
            --max_wav_duration "${max_wav_duration}" "${org}" "${raw}/${name}"
    done
fi

if want 5 "token list: ${token_type}"; then
    need "${train_dir}/text" 4
    step "${token_dir}" "${train_dir}/text" -- \
        data_tool token_list --token_type "${token_type}" --nbpe "${nbpe}" \
        --text "${train_dir}/text" --outdir "${token_dir}"
fi

if [ -n "${own_scorer}" ]; then
    echo "Stages 6-7 skipped: the scorer is ${scorer_model:-${scorer}}"
else
    if want 6 "scorer statistics"; then
        need "${token_list}" 5
        need "${valid_dir}/text" 4
        step "${scorer_stats}" "${train_dir}/wav.scp" "${valid_dir}/wav.scp" \
            "${token_list}" "${scorer_config}" -- \
            collect_stats espnet2.bin.asr_train "${scorer_stats}" "${scorer_config}" \
            "${tokens[@]}" "${labelled[@]}"
    fi

    if want 7 "scorer training: ${scorer_exp}/train.log"; then
        need "${scorer_stats}/train/speech_shape" 6
        training_inputs "${scorer_stats}" "${scorer_config}"
        step "${scorer_exp}" "${inputs[@]}" -- \
            train_asr "${scorer_stats}" "${scorer_exp}" "${scorer_config}" \
            "${scorer_stats}/train/feats_stats.npz" "${scorer_options[@]}"
    fi
fi

if want 8 "confidences of ${pretrain_set} and ${valid_set}: ${confidence_dir}"; then
    if [ "${scorer}" = espnet ]; then
        [ -n "${own_scorer}" ] || need "${scorer_exp}/.made" 7
        # a name on a hub is no file
        [[ ${scorer_model} != *.@(pth|zip) ]] || need "${scorer_model}" 7
        score+=(--asr_model_file "${scorer_model}")
    fi
    for dir in "${pretrain_dir}" "${valid_dir}"; do
        need "${dir}/wav.scp" 4
        out=${confidence_dir}/${dir##*/}
        inputs=("${dir}/wav.scp")
        for word in "${conf[@]}" "=${scorer_model}"; do
            value=${word#*=}
            [ -n "${value}" ] || continue
            for file in "${value}" "${value}"/*; do  # a file, or the files of a model's directory
                [ ! -f "${file}" ] || inputs+=("${file}")
            done
        done
        step "${out}" "${inputs[@]}" -- \
            score_set "${out}" "${score[@]}" "${conf[@]/#/--scorer_conf=}" --data "${dir}"
    done
    "${python}" -m espnet_a2m.bin.confidence_report --data "${pretrain_dir}" \
        --confidence "${confidence_dir}/${pretrain_set}" \
        --outdir "${confidence_dir}/report" --utts "${num_plots}" \
        ${train_set:+--exclude "${train_dir}/text"} \
        --heldout "${valid_dir}" "${confidence_dir}/${valid_set}" \
        --ssl_config "${ssl_config}" "--ssl_args=${ssl_args}" \
        ${target_lang:+--target_lang "${target_lang}"} "${report_options[@]}"
fi

if want 9 "pseudo-labels${label_tag:+ of ${pretrain_set} and ${valid_set}: ${label_dir}}"; then
    if [ -z "${label_tag}" ]; then
        echo "Skipped: only HuBERT needs labels (--label_tag mfcc)."
    else
        need "${pretrain_dir}/wav.scp" 4
        need "${valid_dir}/wav.scp" 4
        features=(--fs "${fs}")
        inputs=("${pretrain_dir}/wav.scp" "${valid_dir}/wav.scp")
        if [ "${label_features}" != mfcc ]; then
            trained=11
            [ "${label_features}" != "${scorer_exp}" ] || trained=7
            find_model "${label_features}" "${label_model}" "${trained}"
            features=(--model_file "${model}" --layer "${label_layer}")
            inputs+=("${model}")
        fi
        [ -z "${label_kmeans}" ] || inputs+=("${label_kmeans}")
        step "${label_dir}" "${inputs[@]}" -- \
            make_labels "${num_clusters}" "${km_hours}" "${label_kmeans}" "${features[@]}"
    fi
fi

if want 10 "pre-training statistics"; then
    for dir in "${pretrain_dir}" "${valid_dir}"; do
        need "${confidence_dir}/${dir##*/}/.made" 8
    done
    [ -z "${label_tag}" ] || need "${label_dir}/.made" 9
    need "${pretrain_lengths}" 3
    step "${ssl_stats}" "${pretrain_dir}/wav.scp" "${valid_dir}/wav.scp" "${ssl_config}" -- \
        collect_ssl_stats "${stats_hours}"
fi

if want 11 "pre-training: ${ssl_exp}/train.log"; then
    need "${ssl_stats}/train/speech_shape" 10
    split_pretrain_data
    step "${ssl_exp}" "${pretrain_lengths}" "${ssl_stats}/train/speech_shape" \
        "${scored_files[@]}" "${ssl_config}" ${ssl_init:+"${ssl_init}"} -- train_ssl "${ssl_options[@]}"
    "${python}" -m espnet_a2m.bin.plot_curves "${ssl_exp}"
fi

if want 12 "fine-tuning statistics"; then
    need "${token_list}" 5
    step "${asr_stats}" "${train_dir}/wav.scp" "${valid_dir}/wav.scp" \
        "${token_list}" "${asr_config}" -- \
        collect_stats espnet2.bin.asr_train "${asr_stats}" "${asr_config}" \
        --model_conf extract_feats_in_collect_stats=false \
        "${tokens[@]}" "${labelled[@]}"
fi

if want 13 "fine-tuning: ${asr_exp}/train.log"; then
    need "${ssl_exp}/.made" 11
    need "${asr_stats}/train/speech_shape" 12
    find_model "${ssl_exp}" "${inference_ssl_model}" 11
    training_inputs "${asr_stats}" "${asr_config}"
    step "${asr_exp}" "${model}" "${inputs[@]}" -- \
        fine_tune "${model}" "${asr_options[@]}"
fi

evaluated=("${asr_exp}")
[ -n "${own_scorer}" ] || [ "${eval_scorer}" != true ] || evaluated+=("${scorer_exp}")

if want 14 "decoding"; then
    for exp in "${evaluated[@]}"; do
        model=${exp}/${inference_asr_model} trained=13
        [ "${exp}" = "${asr_exp}" ] || model=${exp}/${inference_scorer_model} trained=7
        need "${exp}/.made" "${trained}"
        need "${model}" "${trained}"
        for name in "${tests[@]}"; do
            need "${raw}/${name}/wav.scp" 3
            out=${exp}/${inference_tag}/${name}
            step "${out}" "${model}" "${raw}/${name}/wav.scp" "${inference_config}" -- \
                decode "${exp}" "${model}" "${raw}/${name}" "${out}" "${inference_options[@]}"
        done
    done
fi

if want 15 "evaluation: RESULTS.md"; then
    take_lock "${expdir}/RESULTS.md"
    for exp in "${evaluated[@]}"; do
        for name in "${tests[@]}"; do
            out=${exp}/${inference_tag}/${name}
            need "${out}/text" 14
            for unit in word:wer char:cer; do
                "${python}" -m espnet_a2m.bin.report score --ref "${raw}/${name}/text" \
                    --hyp "${out}/text" --unit "${unit%:*}" --outdir "${out}/score_${unit#*:}"
            done
        done
    done
    results=()  # earlier experiments stay in the table
    for exp in "${expdir}"/asr_*/ "${expdir}"/scorer_*/; do
        for result in "${exp}"*/*/score_wer/result.json; do
            [ ! -e "${result}" ] || results+=("${exp%/}")
            break
        done
    done
    "${python}" -m espnet_a2m.bin.report results "${results[@]}" --output RESULTS.md
    [ ! -x local/score.sh ] || local/score.sh --expdir "${expdir}" --dumpdir "${dumpdir}"
    exec {lock}>&-
fi

# shellcheck source=local/publish.sh
. "${shared}/publish.sh"
