#!/usr/bin/env bash
# The data directories of Common Voice, English (stage 1), from where db.sh says.
# Run from the recipe's directory, as run.sh does; --help lists the options.
set -euo pipefail
# shellcheck source=local/corpus_db.sh
. "${A2M_ROOT:-../../..}/local/corpus_db.sh"

one_corpus commonvoice "$@"
