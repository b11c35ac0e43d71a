#!/usr/bin/env bash
# Error rates per session and location of what is decoded (stage 15).
set -euo pipefail
"${python:-python3}" -m espnet_a2m.bin.chime6_score "$@"
