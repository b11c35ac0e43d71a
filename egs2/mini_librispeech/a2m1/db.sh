# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. "downloads": downloaded into the recipe's folder downloads/.
LIBRISPEECH=downloads  # the folder with train-clean-5 and dev-clean-2, or above it
