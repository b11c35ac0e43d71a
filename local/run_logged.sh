#!/usr/bin/env bash
# Run a program with its output in a log, as Kaldi's run.pl does:
#   run_logged.sh [--gpu N] [JOB=1:N] LOG COMMAND...
# Epoch results are shown as they come. A log that is there is continued: it has all of a
# training run. With JOB=1:N there are N commands, with JOB replaced by 1 to N
# in the log and the command: all at the same time or, with --gpu 1, as many as there are
# GPUs, each with one of its own.
set -uo pipefail

run() {  # LOG COMMAND...
    local log=$1 status
    shift
    mkdir -p "$(dirname "${log}")"
    {
        printf '# '
        printf '%q ' "$@"
        printf '\n# Started at %s\n' "$(date)"
    } >>"${log}"
    "$@" </dev/null 2>&1 | tee -a "${log}" |
        sed -nu -E 's/^.*INFO: ([0-9]+epoch results: )/\1/p;
                    s/^.*INFO: ([0-9]+\/[0-9]+epoch started.*)/\1/p;
                    s/^.*(WARNING: Most batches .*)/\1/p;
                    /^score .*%/p'
    status=${PIPESTATUS[0]}
    echo "# Ended (code ${status}) at $(date)" >>"${log}"
    return "${status}"
}

gpu=0
while [[ ${1:-} == --* ]]; do
    [ "$1" != --gpu ] || gpu=$2
    shift 2
done
if ! [[ ${1:-} =~ ^([A-Za-z_]+)=1:([0-9]+)$ ]]; then
    run "$@"
    exit
fi
name=${BASH_REMATCH[1]}
count=${BASH_REMATCH[2]}
shift

devices=()
if [ "${gpu}" -gt 0 ]; then
    IFS=', ' read -ra devices <<<"${CUDA_VISIBLE_DEVICES:-$(
        nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | paste -sd,)}"
fi

lane() {  # FIRST STEP COMMAND...: jobs FIRST, FIRST + STEP, ... one after the other
    local job=$1 step=$2 status=0
    shift 2
    for (( ; job <= count; job += step)); do
        run "${@//${name}/${job}}" || status=$?
    done
    return "${status}"
}

set -m  # each a process group of its own, all of which Ctrl-C ends
pids=()
trap 'kill -- "${pids[@]/#/-}"; exit 130' INT TERM
lanes=${count}
[ "${#devices[@]}" -eq 0 ] || [ "${#devices[@]}" -ge "${count}" ] || lanes=${#devices[@]}
for ((i = 1; i <= lanes; i++)); do
    [ "${#devices[@]}" -eq 0 ] || export CUDA_VISIBLE_DEVICES=${devices[i - 1]}
    lane "${i}" "${lanes}" "$@" &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
    wait "${pid}" || status=$?
done
exit "${status}"
