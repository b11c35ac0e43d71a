#!/usr/bin/env bash
# Get the Asterisk core sounds and make the data directories (stage 1).
# Run from the recipe's directory, as run.sh does; --help lists the options.
set -euo pipefail

help() {
    cat <<'EOF'
Usage: local/data.sh [options]
  --asterisk_dir DIR  unpacked Asterisk sounds, or their .deb or .tar.gz files;
                      default: apt-get download, else the project's own tarballs
  --downloads DIR     where downloads and decoded audio go (default: downloads)
  --data DIR          where the data directories go (default: data)
  --sources "A B"     what to try, in this order (default: "apt tarballs")
  --base_url URL      where the tarballs are
  --subset S          a part of every set, e.g. 0.1 (default: 1)
  --nj N              processes (default: all processors)
  --python PYTHON     interpreter (default: python3)
EOF
}

downloads=downloads data=data subset=1 nj=$(getconf _NPROCESSORS_ONLN) python=python3
get_options=()
while [ $# -gt 0 ]; do
    [ "$1" = --help ] || [ "$1" = -h ] && { help; exit 0; }
    name=${1//-/_} name=${name/#__/}
    case $1 in
    --*) ;;
    *) name= ;;
    esac
    case $name in
    asterisk_dir | sources | base_url | downloads | data | subset | nj | python) ;;
    *)
        echo "ERROR: $0: unknown argument $1; see $0 --help" >&2
        exit 1
        ;;
    esac
    if [ $# -lt 2 ]; then
        echo "ERROR: $0: $1 needs a value" >&2
        exit 1
    fi
    case $name in
    asterisk_dir | sources | base_url) get_options+=("--$name" "$2") ;;
    *) printf -v "$name" %s "$2" ;;
    esac
    shift 2
done

here=$(dirname "$0")
root=$(cd "$here/../../../.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export OMP_NUM_THREADS=1

"$python" "$here/get_sounds.py" --downloads "$downloads" \
    ${get_options[@]+"${get_options[@]}"}
"$python" "$here/prepare_sets.py" --downloads "$downloads" --data "$data" \
    --subset "$subset" --nj "$nj"
