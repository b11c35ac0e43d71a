# A grid of systems and seeds, each a run.sh of its own; to be sourced by a2m.sh.
# shellcheck shell=bash disable=SC2034,SC2154,SC2329  # a2m.sh and names.sh set the names

run_sweep() {  # does not return
    local name stages=() base=()
    [ -n "${A2M_OPTIONS+set}" ] ||
        die "--sweep: path.sh does not set A2M_OPTIONS: make it a link to local/path.sh"
    [ "${sweep_nj}" -lt 2 ] || command -v flock >/dev/null ||
        die "--sweep_nj ${sweep_nj}: runs at the same time need the program flock"
    part() {  # NAME FIRST LAST: of the stages that are to run
        local first=$((stage > $2 ? stage : $2)) last=$((stop_stage < $3 ? stop_stage : $3))
        [ "${first}" -gt "${last}" ] ||
            stages+=("--stages=$1=--stage ${first} --stop_stage ${last}")
    }
    [ -e "${sweep}" ] || [ ! -e "${A2M_ROOT}/${sweep}" ] || sweep=${A2M_ROOT}/${sweep}
    part data 1 5
    part scorer 6 8
    part cell 9 15
    part all 1 15
    [ "${#stages[@]}" -gt 0 ] || die "--sweep: --stage and --stop_stage leave nothing to run"
    for name in {scorer,ssl,asr,inference}_args; do base+=("--base=${name}=${!name}"); done
    [ "${cuda_cmd##*/}" != run_logged.sh ] || base+=(--ngpu="${ngpu}")
    option_list='sweep | |
sweep_nj | 1 |'
    eval "parse_known_options ${A2M_OPTIONS}"  # quoted by path.sh; sets rest
    exec "${python}" -m espnet_a2m.bin.sweep "${sweep}" --nj "${sweep_nj}" \
        --expdir "${expdir}" "${stages[@]}" "${base[@]}" -- ./run.sh "${rest[@]}"
}

# For a sweep, a line each: what check_recipe is to check; what is to be run once, for cells
# with the same words; where models and scores are; directories, with what they are written
# from: cells that share one would write the same there.
describe_run() {
    local data="${audio_format} ${fs} ${min_wav_duration} ${max_wav_duration}" name
    local decoded=${asr_exp}/${inference_tag}
    show() { printf '%s\t%s\n' "$1" "${*:2}"; }
    check_word() { for name in "${@:3}"; do show check "${name}"; done; }
    python=check_word check_configs
    show data "${local_data_opts} ${data} ${train_dir} ${valid_dir} ${pretrain_dir} ${test_sets} ${token_dir}"
    show scorer "${confidence_dir}/${pretrain_set}"
    show ssl "${ssl_exp}"
    ! will_run 15 || for name in "${tests[@]}"; do show decoded "${decoded}/${name}"; done

    writes() { printf 'writes\t%s\t%s\n' "$1" "${*:2}"; }
    # without the names of sets, which benchmark.sh puts first
    writes "${pretrain_dir}" "${data} ${local_data_opts#*--allow_missing }"
    if [ -z "${own_scorer}" ]; then
        writes "${scorer_stats}" "${train_dir} ${scorer_config}"
        writes "${scorer_exp}" "${train_dir} ${scorer_config} ${scorer_args}"
    fi
    writes "${confidence_dir}/${pretrain_set}" "${score[*]} ${scorer_model} ${scorer_conf}"
    [ -z "${label_tag}" ] || writes "${label_dir}" "${pretrain_dir} ${label_features}" \
        "${label_model} ${label_layer} ${num_clusters} ${km_hours}"
    writes "${ssl_stats}" "${pretrain_dir} ${valid_dir} ${ssl_config} ${stats_hours}"
    writes "${ssl_exp}" "${ssl_config} ${ssl_args} ${confidence_dir}/${pretrain_set}" \
        "${label_tag:+${label_dir}}"
    writes "${asr_stats}" "${train_dir} ${valid_dir} ${asr_config}"
    writes "${asr_exp}" "${train_dir} ${asr_config} ${asr_args} ${ssl_exp} ${inference_ssl_model}"
    writes "${decoded}" "${inference_config} ${inference_args} ${inference_asr_model}"
}
