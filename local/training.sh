# Training, decoding and the passes over the data before them, on this machine or on a
# cluster; to be sourced by a2m.sh.
# shellcheck shell=bash disable=SC2034,SC2154  # a2m.sh and names.sh set the names

# Kaldi's queue.pl and slurm.pl name the log of a job that failed; this shows its end.
in_job() {  # run_cpu|run_gpu [--gpu N] [JOB=1:N] LOG COMMAND...
    local -n runner=$1
    local options=() jobs=1
    shift
    if [ "$1" = --gpu ]; then
        options+=("$1" "$2")
        shift 2
    fi
    if [[ $1 == JOB=1:* ]]; then
        options+=("$1") jobs=${1#JOB=1:}
        shift
    fi
    "${runner[@]}" "${options[@]}" "$1" "${job_env[@]}" "${@:2}" || {
        show_failed "$1" "${jobs}"
        exit 1
    }
}

training_inputs() {  # STATS CONFIG: sets inputs, the files that supervised training reads
    inputs=("$1"/{train,valid}/speech_shape "${train_dir}/text" "${valid_dir}/text"
        "${token_list}" "$2")
}

set_normalize() {  # CONFIG STATS: ESPnet's options, if the configuration wants them
    normalize=()
    [ "${config_value[$1:normalize]}" != global_mvn ] ||
        # ESPnet reads the value as YAML: in quotes, it is a string whatever it holds
        normalize=(--normalize global_mvn --normalize_conf "stats_file='${2//\'/\'\'}'")
}

train_on() {  # EXP MODULE OPTIONS...: here, or on several machines by ESPnet's launcher
    local exp=$1 module=$2
    shift 2
    if [ "${num_nodes}" -le 1 ]; then
        in_job run_gpu --gpu "${ngpu}" "${exp}/train.log" \
            "${python}" -m "${module}" "${gpus[@]}" "$@"
        return
    fi
    "${python}" -m espnet2.bin.launch --cmd "${cuda_cmd}" --log "${exp}/train.log" \
        --ngpu "${ngpu}" --num_nodes "${num_nodes}" \
        --init_file_prefix "${exp}/.dist_init_" --multiprocessing_distributed true -- \
        "${job_env[@]}" "${python}" -m "${module}" "$@"
}

train_asr() {  # STATS EXP CONFIG NORMALIZE_STATS OPTIONS...
    local stats=$1 exp=$2 config=$3
    set_normalize "${config}" "$4"
    shift 4
    train_on "${exp}" espnet_a2m.bin.asr_train --config "${config}" \
        "${tokens[@]}" "${labelled[@]}" \
        --train_shape_file "${stats}/train/speech_shape" \
        --valid_shape_file "${stats}/valid/speech_shape" \
        "${normalize[@]}" --resume true --output_dir "${exp}" "$@"
}

# Reads every utterance once and so finds unreadable audio: in the program's own process,
# because an error from a worker process does not name the file.
collect_stats() {  # MODULE OUT CONFIG OPTIONS...
    local module=$1 out=$2 config=$3
    shift 3
    rm -rf "${out}.tmp"
    in_job run_cpu "${out}.log" "${python}" -m "${module}" --config "${config}" \
        --collect_stats true --normalize none --ngpu 0 --num_workers 0 --output_dir "${out}.tmp" "$@"
    rm -rf "${out}"
    mv "${out}.tmp" "${out}"
}

# A command that may be divided between jobs, anywhere. One that is started again resumes;
# the last command merges what all of them have written.
in_shards() {  # OPTION LOG COMMAND...: the option says how many jobs
    local nj=${!1} log=$2 program=(run_cpu)
    [ "${ngpu}" -eq 0 ] || program=(run_gpu --gpu 1)
    if [ "${nj}" -gt 1 ]; then
        [[ "${job_env[*]} ${*:3}" != *JOB* ]] ||
            refuse "$1" "makes 'JOB' in a name the job's number"
        in_job "${program[@]}" JOB=1:"${nj}" "${log}.JOB.log" "${@:3}" --nj "${nj}" --job JOB
        "${@:3}" --nj "${nj}"
    elif [ "$1" = inference_nj ]; then  # ESPnet tells much
        in_job "${program[@]}" "${log}.1.log" "${@:3}"
    else
        "${@:3}"
    fi
}

# What does not change the scores is given here: with another --ngpu nothing is scored
# again.
score_set() {  # OUT COMMAND...
    local out=$1
    shift
    in_shards scoring_nj "${out}/log/score" "$@" --output_dir "${out}" \
        --ngpu "$((ngpu > 0))" --num_threads "${num_threads}"
}

make_labels() {  # NUM_CLUSTERS HOURS KMEANS FEATURES...: one k-means, then both sets by it
    local clusters=$1 hours=$2 kmeans=$3 labels
    shift 3
    labels=("${python}" -m espnet_a2m.bin.labels "$@" --output_dir "${label_dir}")
    [ "${trust_checkpoint}" = false ] || labels+=(--trust_checkpoint "${trust_checkpoint}")
    [ "${label_features}" = mfcc ] ||
        labels+=(--ngpu "$((ngpu > 0))" --num_threads "${num_threads}")
    if [ -z "${kmeans}" ]; then
        kmeans=${label_dir}/km.npz
        "${labels[@]}" --fit_data "${pretrain_dir}" --num_clusters "${clusters}" \
            --fit_hours "${hours}"
    fi
    in_shards scoring_nj "${label_dir}/log/label" "${labels[@]}" --kmeans "${kmeans}" \
        --data "${pretrain_dir}" "${valid_dir}"
}

# Of the features alone, which do not depend on the other streams: training checks those.
collect_ssl_stats() {  # HOURS: of pretrain_set; 0: all
    local wav=${pretrain_dir}/wav.scp drawn=${ssl_stats}.drawn
    if [[ ! $1 =~ ^0*\.?0*$ ]]; then
        "${python}" -m espnet_a2m.bin.data subsample_hours --hours "$1" --fs "${fs}" \
            --output_dir "${drawn}" "${pretrain_lengths}" "${wav}"
        wav=${drawn}/wav.scp
    fi
    collect_stats espnet_a2m.bin.ssl_train "${ssl_stats}" "${ssl_config}" "${grids[@]}" \
        --train_data_path_and_name_and_type "${wav},speech,${sound}" \
        --valid_data_path_and_name_and_type "${valid_dir}/wav.scp,speech,${sound}"
    rm -rf "${drawn}"
}

# ESPnet keeps the tables of a training set in memory: those of millions of utterances are
# split.
split_pretrain_data() {  # sets pretrain_data
    local parts=${num_splits_ssl} tables=("${pretrain_lengths}") lengths=${pretrain_lengths} splits i
    [ "${parts}" -gt 0 ] || parts=$(($(wc -l <"${pretrain_lengths}") / 500000 + 1))
    splits=${ssl_stats}/splits_${parts}_${confidence_dir##*/}${label_tag:+_${label_tag}}
    pretrain_data=()
    if [ "${parts}" -gt 1 ]; then
        for i in "${!pretrain_streams[@]}"; do
            tables+=("${pretrain_streams[i]%%,*}")
            pretrain_streams[i]=${splits}/$(basename "${tables[-1]}"),${pretrain_streams[i]#*,}
        done
        step "${splits}" "${tables[@]}" -- "${python}" -m espnet2.bin.split_scps \
            --scps "${tables[@]}" --num_splits "${parts}" --output_dir "${splits}"
        lengths=${splits}/utt2num_samples
        pretrain_data=(--multiple_iterator true)
    fi
    pretrain_data+=("${pretrain_streams[@]/#/--train_data_path_and_name_and_type=}"
        --train_shape_file "${lengths}")
}

train_ssl() {  # OPTIONS...
    local init=()
    # a copy in the experiment: its encoder is valid with this normalisation only
    if [ -n "${ssl_init}" ]; then
        init=(--ssl_init "${ssl_init}")  # copies those of that model
    elif [ -e "${ssl_stats}/train/feats_stats.npz" ]; then
        cp "${ssl_stats}/train/feats_stats.npz" "${ssl_exp}/feats_stats.npz.tmp"
        mv "${ssl_exp}/feats_stats.npz.tmp" "${ssl_exp}/feats_stats.npz"
    fi
    set_normalize "${ssl_config}" "${ssl_exp}/feats_stats.npz"
    train_on "${ssl_exp}" espnet_a2m.bin.ssl_train --config "${ssl_config}" \
        "${pretrain_data[@]}" "${scored[@]}" "${grids[@]}" "${init[@]}" \
        --valid_shape_file "${ssl_stats}/valid/speech_shape" \
        "${normalize[@]}" --resume true --output_dir "${ssl_exp}" "$@"
}

fine_tune() {  # CHECKPOINT OPTIONS...
    local init=(--init_param "$1:frontend:frontend" "$1:encoder:encoder")
    [ "${config_value[${asr_config}:preencoder]}" = none ] ||
        init+=("$1:preencoder:preencoder")
    shift
    set_normalize "${asr_config}" "${ssl_exp}/feats_stats.npz"
    "${python}" -m espnet_a2m.bin.check_init --config "${asr_config}" \
        "${tokens[@]}" "${normalize[@]}" "${init[@]}" "$@"
    # the encoder expects the features as they were normalised in pre-training
    train_asr "${asr_stats}" "${asr_exp}" "${asr_config}" \
        "${ssl_exp}/feats_stats.npz" "${init[@]}" "$@"
}

decode() {  # EXP MODEL DATA OUT OPTIONS...
    local exp=$1 model=$2 data=$3 out=$4
    shift 4
    in_shards inference_nj "${out}/log/decode" "${python}" -m espnet_a2m.bin.decode \
        --outdir "${out}" --data "${data}" --type "${sound}" \
        --config "${inference_config}" --ngpu "$((ngpu > 0))" \
        --asr_train_config "${exp}/config.yaml" --asr_model_file "${model}" "$@"
}
