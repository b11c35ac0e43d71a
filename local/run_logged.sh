#!/usr/bin/env bash
# Run a program with its output in a log, as Kaldi's run.pl does:
#   run_logged.sh [--gpu N] [JOB=1:N] LOG COMMAND...
# Epoch results are shown as they come. A log that is there is continued: it tells the
# whole story of a training. With JOB=1:N there are N commands at the same time, with JOB
# replaced by 1 to N in the log and the command.
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
                    /^score .*%/p'
    status=${PIPESTATUS[0]}
    echo "# Ended (code ${status}) at $(date)" >>"${log}"
    return "${status}"
}

while [[ ${1:-} == --* ]]; do shift 2; done
if [[ ${1:-} =~ ^([A-Za-z_]+)=1:([0-9]+)$ ]]; then
    name=${BASH_REMATCH[1]}
    count=${BASH_REMATCH[2]}
    shift
    set -m  # each a process group of its own, which Ctrl-C ends as a whole
    pids=()
    trap 'kill -- "${pids[@]/#/-}"; exit 130' INT TERM
    for ((job = 1; job <= count; job++)); do
        run "${@//${name}/${job}}" &
        pids+=($!)
    done
    status=0
    for pid in "${pids[@]}"; do
        wait "${pid}" || status=$?
    done
    exit "${status}"
fi
run "$@"
