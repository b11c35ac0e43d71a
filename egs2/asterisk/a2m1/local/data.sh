#!/usr/bin/env bash
# Get the Asterisk core sounds and write the data directories (stage 1).
# Run from the recipe's directory, as run.sh does; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets them
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
A2M_ROOT=${A2M_ROOT:-$(cd "${here}/../../../.." && pwd)}
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT}/local/parse_options.sh"

# shellcheck disable=SC2034
option_list='
asterisk_dir | | unpacked Asterisk sounds, or their .deb or .tar.gz files; when empty, apt-get download, else the tarballs of the project
downloads | downloads | directory of downloads and decoded audio
data | data | directory of the data directories
sources | apt tarballs | sources, in this order
base_url | | URL of the tarballs; default: the project
subset | 1.0 | part of every set, such as 0.1
raw_pool | false | also pretrain_raw: pretrain in long recordings with noise and music
nj | 2 | processes
'
parse_options "$@"

export PYTHONPATH=${A2M_ROOT}${PYTHONPATH:+:${PYTHONPATH}}
export OMP_NUM_THREADS=1

"${python:-python3}" "${here}/get_sounds.py" --downloads "${downloads}" --sources "${sources}" \
    ${asterisk_dir:+--asterisk_dir "${asterisk_dir}"} \
    ${base_url:+--base_url "${base_url}"} --music "${raw_pool}"
"${python:-python3}" "${here}/prepare_sets.py" --downloads "${downloads}" --data "${data}" \
    --subset "${subset}" --nj "${nj}"
[ "${raw_pool}" = false ] ||
    "${python:-python3}" "${here}/raw_pool.py" --downloads "${downloads}" --data "${data}" --nj "${nj}"
