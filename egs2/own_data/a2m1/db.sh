# shellcheck shell=bash disable=SC2034  # run.sh and local/data.sh read it
RECORDINGS=          # a folder with recordings, or a manifest (docs/own_data.md)
TRANSCRIPTS=false    # true: some have transcripts; fine-tune on them and test
# More options of `python -m espnet_a2m.bin.data prepare_recordings`, such as
# --text_suffix .txt --speaker folder. Pieces of 3 to 6 s suit conf/tiny, whose batches have
# 6 s: with one utterance each they teach nothing. For conf/base: 30.
RECORDINGS_OPTIONS=(--max_seconds 6)
