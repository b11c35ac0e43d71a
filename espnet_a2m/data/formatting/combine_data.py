"""Merge data directories, transcripts in one spelling, before format_wav.

Text is brought to A-Z, apostrophe and space (spelling.py); utterances that
cannot be are counted and left out. With --keep_all, which is for test sets, none is:
words with other characters stay as they are, in upper case, and so does a tag that is
alone. Audio is not touched. Ids must differ. Of other utt2* tables, those stay that all
directories have.
"""

from __future__ import annotations

import argparse

from espnet_a2m.core.errors import DataError, main_guard, preview
from espnet_a2m.data.datadir import DataDir, Segment, write_data_dir
from espnet_a2m.data.formatting.spelling import CommonForm


def merge(all_of: dict, more: dict, path: object) -> None:
    """Add a table to another. Raises DataError for a key that has two values."""
    duplicates = [k for k in all_of.keys() & more.keys() if all_of[k] != more[k]]
    if duplicates:
        names = preview(sorted(duplicates))
        raise DataError(f"{path}: {names} are in one before it, too, and differ")
    all_of.update(more)


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    parser.add_argument("src", nargs="+", metavar="SRC", help="those to merge")
    parser.add_argument(
        "--keep_all", action="store_true", help="lose no utterance: for test sets"
    )
    args = parser.parse_args(argv)
    wav_scp: dict[str, str] = {}
    segments: dict[str, Segment] = {}
    tables: dict[str, dict[str, str]] = {}
    for path in args.src:
        source = DataDir.load(path, need=("wav.scp", "utt2spk", "text", "segments"))
        form = CommonForm(keep_all=args.keep_all)
        spelled = {utt: form(said) for utt, said in source.tables["text"].items()}
        form.report(path)
        kept = {utt: said for utt, said in spelled.items() if said}
        assert source.segments is not None
        merge(wav_scp, source.wav_scp, path)
        merge(segments, {utt: source.segments[utt] for utt in kept}, path)
        for name, table in {**source.tables, "text": kept}.items():
            rows = {utt: table[utt] for utt in kept}
            merge(tables.setdefault(name, {}), rows, path)
    if not segments:
        raise DataError(f"{args.dst}: no utterance is left of {preview(args.src)}")
    used = {segment.recording for segment in segments.values()}
    wav_scp = {name: path for name, path in wav_scp.items() if name in used}
    complete = {n: table for n, table in tables.items() if len(table) == len(segments)}
    write_data_dir(args.dst, wav_scp, complete, segments)
    print(f"{args.dst}: {len(segments)} utterances of {len(args.src)} directories")
