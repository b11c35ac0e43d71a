# For the stages of a2m.sh: which of them run, checks, steps that are done once; to be
# sourced there.
# shellcheck shell=bash disable=SC2154  # a2m.sh sets the options

will_run() {  # NUMBER...: whether one of these stages is to run
    local number skip
    for number; do
        case ${number} in
            [1-5]) skip=skip_data_prep ;;
            [6-9] | 1[0-3]) skip=skip_train ;;
            14 | 15) skip=skip_eval ;;
            16) skip=skip_packing ;;
            *) skip=skip_upload_hf ;;
        esac
        [ "${number}" -lt "${stage}" ] || [ "${number}" -gt "${stop_stage}" ] ||
            [ "${!skip}" = true ] || [[ " ${skip_stages} " == *" ${number} "* ]] || return 0
    done
    return 1
}

want() {  # NUMBER TITLE: whether this stage is to run; prints its title if so
    will_run "$1" || return 1
    current_stage="$1 (${2%%:*})" resume_stage=$1
    echo "$(date '+%F %T') stage $1: $2"
}

report_failure() {  # trap for EXIT: the stage that failed, after the program's own message
    [ $? -eq 0 ] || [ -z "${current_stage:-}" ] ||
        echo "ERROR: stage ${current_stage} failed; after fixing it, resume with" \
            "./run.sh --stage ${resume_stage} and your other options" >&2
}

refuse() {  # OPTION REASON
    die "--$1 '${!1}' $2: choose another"
}

# Refuse names that some program would split or interpret, before hours are spent.
check_names() {
    local name value
    for name in dumpdir expdir ssl_init {train,valid,pretrain}_set test_sets {scorer,label,ssl,asr}_tag; do
        value=${!name}
        case ${name}:${value} in
            *:*[,:[]*)
                # ESPnet splits "path,name,type" and "path:layer", Kaldi's tables "ark[rows]"
                refuse "${name}" "has one of the characters , : [ which ESPnet splits paths at" ;;
            *_set*:*/* | *_tag:*/*) refuse "${name}" "has a slash: it names one directory" ;;
            *dir:*' #'*) refuse "${name}" "has ' #', which begins a comment of YAML" ;;
            *dir:[-\ \|]*) refuse "${name}" "begins with a dash, a blank or a pipe" ;;
            *dir:) refuse "${name}" "is empty" ;;
            train_set:) ;;  # there are no transcripts
            *_set:. | *_set:.. | *_set:) refuse "${name}" "is no name of a data set" ;;
        esac
    done
    [[ ${skip_stages} =~ ^[0-9\ ]*$ ]] || refuse skip_stages "is no list such as '2 9'"
}

# Test sets are not filtered by length, so they need directories of their own.
check_test_sets() {
    local name other
    for name in "${tests[@]}"; do
        for other in "${train_dir##*/}" "${valid_set}" "${pretrain_set}"; do
            [ "${name}" != "${other}" ] ||
                refuse test_sets "has '${name}', which is trained or validated on"
        done
    done
}

# Values of configurations that stages depend on: config_value[FILE:KEY], ESPnet's default
# where FILE does not have KEY.
declare -A config_value=()
read_configs() {  # FILE...
    local lines key value
    lines=$("${python}" -m espnet_a2m.bin.config_values --keys normalize preencoder decoder -- "$@") || exit
    while read -r value key; do config_value[${key}]=${value}; done <<<"${lines}"
}

# Feature statistics are computed with the configuration alone.
check_args() {
    local name config args
    for name in scorer ssl; do
        config=${name}_config args=${name}_args
        [[ " ${!args}" != *" --frontend"* || ${config_value[${!config}:normalize]} != global_mvn ]] ||
            refuse "${args}" "changes the features, whose statistics --${config} alone determines"
    done
}

# In one process, as ESPnet takes long to import: what is wrong with the configurations
# of the stages that are to run, which would else be found after days.
check_configs() {
    local checked=()
    check_option() {  # OPTION: of these and of the options beside it
        local args=${1/_config/_args}
        checked+=("--$1=${!1}" "--${args}=${!args}")
    }
    [ -n "${own_scorer}" ] || ! will_run 6 7 || check_option scorer_config
    if will_run 10 11; then
        check_option ssl_config
        checked+=("--label_tag=${label_tag}" ${ssl_init:+"--ssl_init=${ssl_init}"})
        [ -n "${label_kmeans}" ] || ! will_run 9 || checked+=("--num_clusters=${num_clusters}")
    elif will_run 12 13 && [ -e "${ssl_exp}/config.yaml" ]; then
        checked+=("--pretrained=${ssl_exp}/config.yaml")
    fi
    ! will_run 12 13 || check_option asr_config
    ! will_run 14 || check_option inference_config
    [[ " ${checked[*]} " != *_config=* ]] ||
        "${python}" -m espnet_a2m.bin.check_recipe "--fs=${fs}" "${checked[@]}" || exit
}

need() {  # FILE STAGE: the file that an earlier stage writes is there
    [ ! -e "$1" ] || return 0
    resume_stage=$2
    die "$1 is missing: run stage $2 first (--stage $2)"
}

find_model() {  # EXP NAME STAGE: sets model, the checkpoint NAME of EXP, or the best one
    local best=("$1"/valid.*.best.pth)
    [ -n "$2" ] || [ "${#best[@]}" -eq 1 ] ||
        die "$1 has several best checkpoints: name one (--*_model): ${best[*]}"
    model=$1/${2:-${best[0]##*/}}
    need "${model}" "$3"
}

take_lock() {  # OUT: sets lock, to close when OUT is written; waits for another run
    mkdir -p "$(dirname "$1")"
    exec {lock}>>"$(dirname "$1")/.$(basename "$1").lock"
    if command -v flock >/dev/null && ! flock -n "${lock}"; then  # not on every system
        echo "$1: waiting for another run, which is writing it"
        flock "${lock}"
    fi
}

# step OUT INPUT... -- COMMAND...
# Runs the command unless it has completed OUT from inputs of this content. A training run
# is only resumed by the same command and from the same inputs; it may be prolonged. Of two
# runs at the same time one waits for the other.
step() {
    local out=$1 inputs=() complete=$1/.made begun=$1/.begun state input lock changes
    shift
    while [ "$1" != -- ]; do
        inputs+=("$1")
        shift
    done
    shift
    state=$(
        printf '%s\n' "$*"
        for input in "${inputs[@]}"; do cksum <"${input}" || exit 1; done
    )
    take_lock "${out}"
    if [ -e "${complete}" ] && [ "$(cat "${complete}")" = "${state}" ]; then
        exec {lock}>&-
        echo "${out}: up to date (remove ${complete} to run it again)"
        return
    fi
    if { [ -e "${out}/checkpoint.pth" ] || [ -e "${out}/checkpoint.update.pth" ]; } &&
        [ "$(cat "${begun}" 2>/dev/null)" != "${state}" ]; then
        changes=$("${python}" -m espnet_a2m.bin.check_resume --exp "${out}" -- "${inputs[@]}" \
            <<<"${state}") || exit
        [ -z "${changes}" ] ||
            die "${out} was trained from other data, options or configuration (${changes}):" \
                "remove it, or name a new experiment (--*_tag)"
    fi
    rm -f "${complete}"
    mkdir -p "${out}"
    write_note "${begun}" "${state}"
    "$@"
    mkdir -p "${out}"
    write_note "${complete}" "${state}"
    exec {lock}>&-
}

write_note() {  # FILE TEXT: after an interruption FILE is old or new, never partial
    printf '%s\n' "$2" >"$1.tmp"
    mv "$1.tmp" "$1"
}

show_failed() {  # LOG [N]: the end of LOG or, with JOB from 1 to N, of the first that failed
    local log job
    for ((job = 1; job <= ${2:-1}; job++)); do
        log=${1//JOB/${job}}
        # Kaldi's programs and ours end a log with the status
        [ -e "${log}" ] || continue
        ! tail -n 3 "${log}" | grep -Eq '\(code 0\)|with status 0$' || continue
        echo "ERROR: failed; the end of ${log}:" >&2
        tail -n 15 "${log}" | sed 's/^/    /' >&2
        return
    done
}
