#!/usr/bin/env python3
"""Put data directories together, transcripts in one spelling, before stage 3.

Usage: combine_data.py data/train data/train_960 data/tedlium_train data/wsj_si284

Text is brought to A-Z, apostrophe and space (local/corpora/text.py); utterances that
cannot be are counted and left out. Audio is not touched. Ids must differ.
"""

from __future__ import annotations

import argparse

from corpora.text import CommonForm

from espnet_a2m.datadir import DataDir, DataError, Segment, main_guard, write_data_dir
from espnet_a2m.errors import few


def merge(all_of: dict, more: dict, path: object) -> None:
    """Add a table to another. Raises DataError for a key that has two values."""
    twice = [k for k in all_of.keys() & more.keys() if all_of[k] != more[k]]
    if twice:
        raise DataError(
            f"{path}: {few(sorted(twice))} are in one before it, too, and differ"
        )
    all_of.update(more)


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    parser.add_argument("src", nargs="+", metavar="SRC", help="those to put together")
    args = parser.parse_args(argv)
    wav_scp: dict[str, str] = {}
    segments: dict[str, Segment] = {}
    text: dict[str, str] = {}
    utt2spk: dict[str, str] = {}
    for path in args.src:
        source = DataDir.load(path, need=("wav.scp", "utt2spk", "text", "segments"))
        form = CommonForm()
        spelled = {utt: form(said) for utt, said in source.tables["text"].items()}
        form.report(path)
        kept = {utt: said for utt, said in spelled.items() if said}
        assert source.segments is not None
        merge(wav_scp, source.wav_scp, path)
        merge(segments, {utt: source.segments[utt] for utt in kept}, path)
        merge(utt2spk, {utt: source.tables["utt2spk"][utt] for utt in kept}, path)
        text.update(kept)
    if not text:
        raise DataError(f"{args.dst}: no utterance is left of {few(args.src)}")
    used = {segment.recording for segment in segments.values()}
    wav_scp = {name: path for name, path in wav_scp.items() if name in used}
    write_data_dir(args.dst, wav_scp, {"text": text, "utt2spk": utt2spk}, segments)
    print(f"{args.dst}: {len(text)} utterances of {len(args.src)} directories")


if __name__ == "__main__":
    main()
