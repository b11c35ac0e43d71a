# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. "downloads": downloaded into the recipe's folder downloads/.
LIBRISPEECH=           # the folder with train-clean-100, ..., or above it; or downloads
LIBRILIGHT=            # the folder with small, medium and large, as far as you have them
