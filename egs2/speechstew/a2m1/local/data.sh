#!/usr/bin/env bash
# Stage 1 for SpeechStew, the union of the corpora that db.sh names: speechstew_train and
# speechstew_dev, and each corpus' test sets; all transcripts in one spelling. --help lists
# the options.
# shellcheck disable=SC2154  # parse_data_options sets them
set -euo pipefail
# shellcheck source=egs2/speechstew/a2m1/local/mixture.sh
. local/mixture.sh
parse_data_options "$@"

absent=$(absent_corpora | tr '\n' ' ')
[ -z "${absent}" ] || echo "Left out, because db.sh does not say where they are: ${absent}"
[ -n "$(each_set train)" ] || die "db.sh names no corpus to train on"

combine() {  # NAME KIND: the sets of that kind of all corpora as one
    local corpus name sources=()
    while read -r corpus name; do
        # --allow_missing leaves out sets that have no audio
        [ ! -d "${data}/own/${corpus}/${name}" ] || sources+=("${data}/own/${corpus}/${name}")
    done < <(each_set "$2")
    [ ${#sources[@]} -gt 0 ] || die "no part of $1 was found"
    "${python:-python3}" -m espnet_a2m.bin.data combine_data "${data}/$1" "${sources[@]}"
}

prepare_pretrain
for corpus in $(each_set train dev test | cut -d' ' -f1 | sort -u); do
    mapfile -t sets < <(each_set train dev test | sed -n "s/^${corpus} //p" | sort -u)
    prepare "${corpus}" "${data}/own/${corpus}" "${sets[@]}"
done
combine speechstew_train train
combine speechstew_dev dev
while read -r corpus name; do
    target=${data}/$(test_name "${corpus}" "${name}")
    if [ -d "${data}/own/${corpus}/${name}" ]; then
        # test sets lose nothing, whatever its spelling
        "${python:-python3}" -m espnet_a2m.bin.data combine_data --keep_all "${target}" \
            "${data}/own/${corpus}/${name}"
    else
        rm -rf "${target}"  # of an earlier run
        echo "WARNING: ${target} is not written; leave it out of --test_sets, too" >&2
    fi
done < <(each_set test)
