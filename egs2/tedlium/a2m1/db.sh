# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. "downloads": downloaded into the recipe's folder downloads/.
TEDLIUM=               # TEDLIUM_release-3 or TEDLIUM_release2; or downloads (release 3)
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
LIBRISPEECH=           # for --pretrain librispeech_960
