# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are. What is empty is left out of the mixture. "downloads":
# downloaded into the recipe's folder downloads/.
LIBRISPEECH=           # the folder with train-clean-100, ..., or above it; or downloads
AMI=                   # see egs2/ami/a2m1; or downloads
COMMONVOICE=           # cv-corpus-<version>, or its folder en
TEDLIUM=               # TEDLIUM_release-3 or TEDLIUM_release2; or downloads (release 3)
SWITCHBOARD=           # LDC97S62 with swb_ms98_transcriptions in it
FISHER=                # the folder with LDC2004S13, LDC2004T19, LDC2005S13, LDC2005T19
WSJ=                   # the folder with the discs of LDC93S6A and LDC94S13A
CHIME6=                # test only; see egs2/chime6/a2m1
LIBRILIGHT=            # pre-training: the folder with small, medium and large
