# What the stages of a2m.sh are made of, to be sourced.
# shellcheck shell=bash disable=SC2154  # a2m.sh sets the options

want() {  # NUMBER TITLE: is this stage to be run? says so if it is
    local n=$1
    [ "${n}" -ge "${stage}" ] && [ "${n}" -le "${stop_stage}" ] || return 1
    [[ " ${skip_stages} " != *" ${n} "* ]] || return 1
    if [ "${n}" -le 5 ]; then
        [ "${skip_data_prep}" != true ] || return 1
    elif [ "${n}" -le 13 ]; then
        [ "${skip_train}" != true ] || return 1
    elif [ "${n}" -le 15 ]; then
        [ "${skip_eval}" != true ] || return 1
    elif [ "${n}" -le 16 ]; then
        [ "${skip_packing}" != true ] || return 1
    else
        [ "${skip_upload_hf}" != true ] || return 1
    fi
    echo "$(date '+%F %T') stage ${n}: $2"
}

# Refuse names that some program would take apart, before hours are spent.
check_names() {
    local name value
    for name in dumpdir expdir {train,valid,pretrain}_set test_sets {scorer,label,ssl,asr}_tag; do
        value=${!name}
        case ${name}:${value} in
            *:*[,:[]*)
                # ESPnet splits "path,name,type" and "path:layer", Kaldi's tables "ark[rows]"
                refuse "${name}" "has one of the characters , : [ which ESPnet splits paths at" ;;
            *_set*:*/* | *_tag:*/*) refuse "${name}" "has a slash: it names one directory" ;;
            *dir:*' #'*) refuse "${name}" "has ' #', which begins a comment of YAML" ;;
            *dir:[-\ \|]*) refuse "${name}" "begins with a dash, a blank or a pipe" ;;
            *dir:) refuse "${name}" "is empty" ;;
            *_set:. | *_set:.. | *_set:) refuse "${name}" "is no name of a data set" ;;
        esac
    done
    [[ ${skip_stages} =~ ^[0-9\ ]*$ ]] || refuse skip_stages "is no list such as '2 9'"
}

# The length filter leaves whole what is tested on, so it needs a directory of its own.
check_test_sets() {
    local name other
    for name in "${tests[@]}"; do
        for other in "${train_dir##*/}" "${valid_set}" "${pretrain_set}"; do
            [ "${name}" != "${other}" ] ||
                refuse test_sets "has '${name}', which is trained or validated on"
        done
    done
}

uses_statistics() {  # CONFIG: are features normalised by those of the training set?
    grep -Esq '^normalize: *global_mvn' "$1"
}

# The statistics are made from the configuration alone.
check_args() {
    local name config args
    for name in scorer ssl; do
        config=${name}_config args=${name}_args
        [[ " ${!args}" != *" --frontend"* ]] || ! uses_statistics "${!config}" ||
            refuse "${args}" "changes the features, of which --${config} makes the statistics"
    done
}

refuse() {  # OPTION REASON
    echo "ERROR: --$1 '${!1}' $2: choose another" >&2
    exit 1
}

need() {  # FILE STAGE: the file that an earlier stage makes is there
    if [ ! -e "$1" ]; then
        echo "ERROR: $1 is missing: run stage $2 first (--stage $2)" >&2
        exit 1
    fi
}

best_model() {  # EXP NAME: path of the checkpoint NAME, or of the best one
    local exp=$1 name=$2 best
    if [ -z "${name}" ]; then
        best=("${exp}"/valid.*.best.pth)
        if [ "${#best[@]}" -gt 1 ]; then
            echo "ERROR: ${exp} has several best checkpoints: name one (--*_model):" \
                "${best[*]}" >&2
            exit 1
        fi
        name=${best[0]##*/}
    fi
    need "${exp}/${name}" 11
    echo "${exp}/${name}"
}

# step OUT INPUT... -- COMMAND...
# Runs the command unless it has made OUT already from inputs of this content.
# A training that was begun by another command or from other inputs is not gone on
# with: that would mix the two. Of two runs at the same time one waits for the other.
step() {
    local out=$1 inputs=() made=$1/.made begun=$1/.begun state input lock
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
    mkdir -p "$(dirname "${out}")"
    exec {lock}>>"$(dirname "${out}")/.$(basename "${out}").lock"
    if command -v flock >/dev/null && ! flock -n "${lock}"; then  # not on every system
        echo "${out}: waiting for another run, which is making it"
        flock "${lock}"
    fi
    if [ -e "${made}" ] && [ "$(cat "${made}")" = "${state}" ]; then
        exec {lock}>&-
        echo "${out}: up to date (remove ${made} to make it again)"
        return
    fi
    if { [ -e "${out}/checkpoint.pth" ] || [ -e "${out}/checkpoint.update.pth" ]; } &&
        [ "$(cat "${begun}" 2>/dev/null)" != "${state}" ]; then
        echo "ERROR: ${out} was trained from other data, options or configuration:" \
            "remove it, or name a new experiment (--*_tag)" >&2
        exit 1
    fi
    rm -f "${made}"
    mkdir -p "${out}"
    note "${begun}" "${state}"
    "$@"
    mkdir -p "${out}"
    note "${made}" "${state}"
    exec {lock}>&-
}

show_failed() {  # LOG [N]: the end of LOG or, of its JOB 1 to N, of the first that failed
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

note() {  # FILE TEXT: the file is whole, or what it was
    printf '%s\n' "$2" >"$1.tmp"
    mv "$1.tmp" "$1"
}
