# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are.
NEWCORPUS=             # the folder that espnet_a2m/data/corpora/newcorpus.py reads
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
LIBRISPEECH=           # for --pretrain librispeech_960
