# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. "downloads": downloaded into the recipe's folder downloads/.
AMI=                   # the folder with ES2002a, ...; or downloads (headsets, arrays' first)
AMI_MANUAL=            # ami_public_manual_1.6.2 or its .zip, where it is not in there
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
LIBRISPEECH=           # for --pretrain librispeech_960
