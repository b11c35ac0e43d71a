# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. "downloads": downloaded into the recipe's folder downloads/.
COMMONVOICE=           # cv-corpus-<version>, or its folder en
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
LIBRISPEECH=           # for --pretrain librispeech_960; or downloads
