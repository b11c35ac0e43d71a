# shellcheck shell=bash disable=SC2034  # local/data.sh reads it
# Where the corpora are, for all recipes whose db.sh is a link to this file; a copy in place
# of the link is for that recipe alone. "downloads": downloaded into the recipe's folder
# downloads/. SpeechStew leaves out of its mixture what is empty.
LIBRILIGHT=   # the folder with small, medium and large, as far as you have them
LIBRISPEECH=  # the folder with train-clean-100, ..., or above it; or downloads
AMI=          # the folder with ES2002a, ...; or downloads (headsets, arrays' first)
AMI_MANUAL=   # ami_public_manual_1.6.2 or its .zip, where it is not in there
CHIME6=       # the folder with audio and transcriptions
COMMONVOICE=  # cv-corpus-<version>, or its folder en
TEDLIUM=      # TEDLIUM_release-3 or TEDLIUM_release2; or downloads (release 3)
SWITCHBOARD=  # LDC97S62 with swb_ms98_transcriptions in it
FISHER=       # the folder with LDC2004S13, LDC2004T19, LDC2005S13, LDC2005T19
WSJ=          # the folder with the discs of LDC93S6A and LDC94S13A
