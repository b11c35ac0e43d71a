#!/usr/bin/env bash
# Write the data directories of the recordings that db.sh names (stage 1). Its options are
# those of `python -m espnet_a2m.bin.data prepare_recordings`.
set -euo pipefail
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck disable=SC1091
. ./db.sh

[ -n "${RECORDINGS}" ] ||
    die "where are your recordings? Set RECORDINGS in $(pwd)/db.sh: a folder, or a manifest"
held_out=(--valid 0.05)
[ "${TRANSCRIPTS}" != true ] || held_out+=(--test 0.05)
"${python:-python3}" -m espnet_a2m.bin.data prepare_recordings "${RECORDINGS}" --name own \
    "${held_out[@]}" --nj "${nj:-2}" --skip_bad_audio "${skip_bad_audio:-false}" \
    "${RECORDINGS_OPTIONS[@]}" "$@"
[ "${TRANSCRIPTS}" != true ] || [ -e data/own_transcribed ] ||
    die "${RECORDINGS}: no transcripts were found: give --text_suffix .txt in" \
        "RECORDINGS_OPTIONS, or a manifest with texts; or set TRANSCRIPTS=false in db.sh"
