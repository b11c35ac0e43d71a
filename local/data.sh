#!/usr/bin/env bash
# Stage 1 for a benchmark corpus; each recipe's local/data.sh may be a link to this file.
# The sets are <corpus>_{train,dev,test}, and <corpus>_valid, a copy of dev, where the
# recipe's local/sets.sh does not name others. --help lists the options.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"
parse_data_options "$@"

sets=("${corpus}"_{train,dev,test}) dev=${corpus}_dev valid=${corpus}_valid
# shellcheck disable=SC1091
[ ! -e local/sets.sh ] || . local/sets.sh
prepare_pretrain
prepare "${corpus}" "${data}" "${sets[@]}" --required "${sets[0]}" "${dev}"
[ "${valid}" = "${dev}" ] || copy_set "${data}/${dev}" "${data}/${valid}"
