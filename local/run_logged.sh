#!/usr/bin/env bash
# Run a program with its output in a log, as Kaldi's run.pl does:
#   run_logged.sh [--gpu N] LOG COMMAND...
# Epoch results are shown as they come; when it fails, the end of the log is. A log
# that is there is continued: it tells the whole story of a training.
set -uo pipefail

while [[ ${1:-} == --* ]]; do shift 2; done
log=$1
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
if [ "${status}" -ne 0 ]; then
    {
        echo "ERROR: the command failed with status ${status}; the end of ${log}:"
        tail -n 15 "${log}" | sed 's/^/    /'
    } >&2
fi
exit "${status}"
