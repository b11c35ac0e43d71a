#!/usr/bin/env bash
# Stands in for Kaldi's slurm.pl where there is no cluster. As there, a job knows PATH
# and what path.sh sets, and only its log's name is told when it fails.
while [[ $1 == --* ]]; do shift 2; done
count=1
if [[ $1 == JOB=1:* ]]; then
    count=${1#JOB=1:}
    shift
fi
log=$1
shift
failed=0
for ((job = 1; job <= count; job++)); do
    file=${log//JOB/${job}}
    mkdir -p "$(dirname "${file}")"
    # shellcheck disable=SC2016  # the job's own arguments
    env -i "PATH=${PATH}" bash -c '. ./path.sh; "$@"' job "${@//JOB/${job}}" >"${file}" 2>&1
    status=$?
    echo "# Finished at $(date) with status ${status}" >>"${file}"
    [ "${status}" = 0 ] || ((failed += 1))
done
[ "${failed}" = 0 ] || {
    echo "slurm.pl: ${failed} / ${count} failed, log is in ${log//JOB/*}" >&2
    exit 1
}
