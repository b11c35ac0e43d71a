# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are.
CHIME6=                # the folder with audio and transcriptions
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
LIBRISPEECH=           # for --pretrain librispeech_960
