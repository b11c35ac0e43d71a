# The files and directories of the stages of a2m.sh, and the options that several of them
# give to ESPnet's programs; to be sourced there.
# shellcheck shell=bash disable=SC2034,SC2154  # a2m.sh sets the options and reads these

asr_tag=${asr_tag:-${ssl_tag}}
check_names
export python nj skip_bad_audio  # local/data.sh has use for them
export OMP_NUM_THREADS=${num_threads} PYTHONUNBUFFERED=1
# How long threads spin before they sleep. By default so long that, where another program
# wants a processor, they wait for each other: benchmarks/threads.py
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-600}
[ -t 2 ] || export TQDM_MININTERVAL=10  # a log needs fewer lines of progress than a screen
# Keep freed memory: giving it back to the system after every step costs a training
# step on the CPU several times its arithmetic (glibc only)
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000

read_configs "${scorer_config}" "${ssl_config}" "${asr_config}"

# ESPnet imports the transducer's loss from a package that pip does not install
if [[ " ${config_value[${asr_config}:decoder]} ${config_value[${scorer_config}:decoder]} " == *" transducer "* ]] &&
    ! "${python}" -c 'import importlib.util as i; assert i.find_spec("warprnnt_pytorch")' 2>/dev/null; then
    export PYTHONPATH=${PYTHONPATH:+${PYTHONPATH}:}${A2M_ROOT}/espnet_a2m/compat/rnnt_loss
fi

# A job on a cluster has no variable but PATH: these are part of its command
job_env=(env TQDM_MININTERVAL=10)
for name in OMP_NUM_THREADS GOMP_SPINCOUNT PYTHONUNBUFFERED PYTHONPATH MALLOC_{MMAP,TRIM}_THRESHOLD_; do
    job_env+=("${name}=${!name:-}")
done
read -ra run_cpu <<<"${train_cmd}"
read -ra run_gpu <<<"${cuda_cmd}"

raw=${dumpdir}/raw
train_dir=${raw}/${train_set}${speed_perturb_factors:+_sp}
valid_dir=${raw}/${valid_set}
pretrain_dir=${raw}/${pretrain_set}
filtered=(${train_set:+"${train_dir##*/}"} "${valid_set}" "${pretrain_set}")  # by length
# named after the training set, because its models keep reading it
token_dir=data/token_list/${train_set}_${token_type}$([ "${token_type}" != bpe ] || echo "${nbpe}")
token_list=${token_dir}/tokens.txt
# Lists of words, in which nothing is expanded or run
read -ra tests <<<"${test_sets}"
read -ra data_options <<<"${local_data_opts}"
read -ra scorer_options <<<"${scorer_args}"
read -ra ssl_options <<<"${ssl_args}"
read -ra asr_options <<<"${asr_args}"
read -ra inference_options <<<"${inference_args}"
read -ra report_options <<<"${report_args}"
check_test_sets
check_args

own_scorer=${scorer_exp}${scorer_model}
[ -n "${train_set}${own_scorer}" ] || [ "${scorer}" != espnet ] ||
    die "--train_set '': without transcripts no scorer can be trained: name one by" \
        "--scorer_exp, or give --scorer energy"
[ "${scorer}" != pocketsphinx ] ||
    die "--scorer pocketsphinx is now examples/pocketsphinx_ctm.py, whose file is given to --scorer ctm"
if [ "${scorer}" = espnet ]; then
    scorer_tag=${scorer_tag:-ctc}
    scorer_exp=${scorer_exp:-${expdir}/scorer_${scorer_tag}}
    scorer_model=${scorer_model:-${scorer_exp}/${inference_scorer_model}}
    confidence_dir=${expdir}/confidence_${own_scorer:+own_}${scorer_tag}
elif [ -n "${own_scorer}" ]; then
    die "--scorer_exp and --scorer_model are ESPnet models; name the model of" \
        "--scorer ${scorer} by --scorer_conf"
else
    own_scorer=${scorer}  # no training
    confidence_dir=${expdir}/confidence_${scorer_tag:-${scorer//[:\/]/_}}
fi
score=("${python}" -m espnet_a2m.bin.score --scorer "${scorer}")
[[ ${scorer} != @(energy|ctm) ]] || score+=(--scorer_conf "fs=${fs}")
read -ra conf <<<"${scorer_conf}"
[ "${trust_checkpoint}" = false ] || score+=(--trust_checkpoint "${trust_checkpoint}")
score_option() {  # NAME VALUE SUFFIX: scores with another value go to another directory
    score+=("--$1" "$2")
    confidence_dir+=_$3
}
[ "${measure}" = max_prob ] || score_option measure "${measure}" "${measure}"
[[ ${scorer}:${measure}:${blank} != @(espnet|hf):entropy:exclude ]] ||
    die "--measure entropy: probabilities without the blank's have no entropy; give --blank renormalise"
[ "${blank}" = exclude ] || score_option blank "${blank}" "${blank}"
[[ ${score_temperature} =~ ^1(\.0*)?$ ]] ||
    score_option temperature "${score_temperature}" "t${score_temperature}"

label_dir=${expdir}/labels_${label_tag}
scorer_stats=${expdir}/scorer_stats
# named after what they depend on: runs at the same time share them or have their own
ssl_stats=${expdir}/ssl_stats_$(basename "${ssl_config}" .yaml)_${pretrain_set}
ssl_exp=${expdir}/ssl_${ssl_tag}
asr_stats=${expdir}/asr_stats_$(basename "${asr_config}" .yaml)_${train_set}
asr_exp=${expdir}/asr_${asr_tag}
inference_tag=$(basename "${inference_config}" .yaml)

sound=sound
[[ ${audio_format} != *ark ]] || sound=kaldi_ark
tokens=(--token_type "${token_type}" --token_list "${token_list}")
[ "${token_type}" != bpe ] || tokens+=(--bpemodel "${token_dir}/bpe.model")
gpus=(--ngpu "${ngpu}")
[ "${ngpu}" -lt 2 ] || gpus+=(--multiprocessing_distributed true)
labelled=(
    --train_data_path_and_name_and_type "${train_dir}/wav.scp,speech,${sound}"
    --train_data_path_and_name_and_type "${train_dir}/text,text,text"
    --valid_data_path_and_name_and_type "${valid_dir}/wav.scp,speech,${sound}"
    --valid_data_path_and_name_and_type "${valid_dir}/text,text,text"
)
pretrain_streams=(
    "${pretrain_dir}/wav.scp,speech,${sound}"
    "${confidence_dir}/${pretrain_set}/confidence.scp,confidence,kaldi_ark"
    "${confidence_dir}/${pretrain_set}/utt2conf,utterance_confidence,text_float"
)
scored=(
    --valid_data_path_and_name_and_type "${valid_dir}/wav.scp,speech,${sound}"
    --valid_data_path_and_name_and_type
    "${confidence_dir}/${valid_set}/confidence.scp,confidence,kaldi_ark"
    --valid_data_path_and_name_and_type
    "${confidence_dir}/${valid_set}/utt2conf,utterance_confidence,text_float"
)
grids=(--confidence_grid "${confidence_dir}/${pretrain_set}/grid.json")
scored_files=("${confidence_dir}/"{"${pretrain_set}","${valid_set}"}/utt2conf)
if [ -n "${label_tag}" ]; then
    pretrain_streams+=("${label_dir}/${pretrain_set}/labels.scp,labels,kaldi_ark")
    scored+=(
        --valid_data_path_and_name_and_type "${label_dir}/${valid_set}/labels.scp,labels,kaldi_ark"
    )
    grids+=(--label_grid "${label_dir}/${pretrain_set}/grid.json")
    scored_files+=("${label_dir}/"{"${pretrain_set}","${valid_set}"}/labels.json)
fi
pretrain_lengths=${pretrain_dir}/utt2num_samples  # written by stage 3
