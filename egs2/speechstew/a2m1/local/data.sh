#!/usr/bin/env bash
# The union of the corpora that db.sh names (stage 1): speechstew_train and _dev, and
# each corpus' test sets; all transcripts in one spelling.
# Run from the recipe's directory, as run.sh does; --help lists the options.
# shellcheck disable=SC2154  # parse_options sets them
set -euo pipefail
# shellcheck source=local/parse_options.sh
. "${A2M_ROOT:-../../..}/local/parse_options.sh"
# shellcheck source=egs2/speechstew/a2m1/local/mixture.sh
. local/mixture.sh

# shellcheck disable=SC2034
option_list='
pretrain | librilight_60k | pre-training audio
allow_missing | false | prepare what is there of corpora that are not complete
data | data | where the data directories go
'
parse_options "$@"

absent=$(each_absent | tr '\n' ' ')
[ -z "${absent}" ] || echo "Left out, because db.sh does not say where they are: ${absent}"
if [ -z "$(each_owned train)" ]; then
    echo "ERROR: db.sh names no corpus to train on" >&2
    exit 1
fi

combine() {  # NAME KIND: the sets of that kind of all corpora as one
    local corpus name sources=()
    while read -r corpus name; do
        # --allow_missing makes no set of which nothing is there
        [ ! -d "${data}/own/${corpus}/${name}" ] || sources+=("${data}/own/${corpus}/${name}")
    done < <(each_owned "$2")
    if [ ${#sources[@]} -eq 0 ]; then
        echo "ERROR: nothing is there of what $1 is made of" >&2
        exit 1
    fi
    "${python:-python3}" -m espnet_a2m.bin.data combine_data "${data}/$1" "${sources[@]}"
}

prepare_pretrain "${data}" "${pretrain}"
for corpus in $(for kind in train dev test; do each_owned ${kind}; done | cut -d' ' -f1 | sort -u); do
    mapfile -t sets < <(
        for kind in train dev test; do each_owned ${kind}; done |
            sed -n "s/^${corpus} //p" | sort -u
    )
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
        echo "WARNING: ${target} is not made; leave it out of --test_sets, too" >&2
    fi
done < <(each_owned test)
