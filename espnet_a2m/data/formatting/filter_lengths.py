"""Drop utterances that are too short, too long or have no text."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.datadir import DataDir, writing_data_dir
from espnet_a2m.data.tables import to_count


def why_dropped(
    seconds: float, text: str | None, shortest: float, longest: float
) -> str | None:
    """The reason to drop an utterance, or None to keep it (bounds are kept)."""
    if seconds < shortest:
        return f"shorter than {shortest:g} s"
    if seconds > longest:
        return f"longer than {longest:g} s"
    if text is not None and not text:
        return "empty text"
    return None


def read_fs(source: str, fs: int | None) -> int:
    """The sampling rate in Hz: as given, or as format_wav noted it in SRC/fs."""
    note = Path(source) / "fs"
    try:
        noted = int(note.read_text())
    except (OSError, ValueError):
        if fs is None:
            raise DataError(f"{note}: no sampling rate there; give --fs") from None
        return fs
    if fs not in (None, noted):
        raise DataError(f"{note}: says {noted} Hz, --fs says {fs}; format SRC again")
    return noted


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--min_wav_duration", type=float, default=0.1, metavar="S")
    parser.add_argument("--max_wav_duration", type=float, default=20.0, metavar="S")
    parser.add_argument("--fs", type=int, help="Hz; default: what format_wav noted")
    parser.add_argument("src", metavar="SRC", help="formatted data directory")
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    args = parser.parse_args(argv)
    need = ("wav.scp", "utt2spk", "utt2num_samples")
    bounds = (args.min_wav_duration, args.max_wav_duration)
    fs = 0
    counts: Counter[str | None] = Counter()  # by the reason to drop them; None: kept
    seconds: dict[str | None, float] = defaultdict(float)
    with writing_data_dir(args.dst) as add:
        for part in DataDir.parts(args.src, need, allow_empty_text=True):
            if part.segments is not None:
                raise DataError(
                    f"{args.src}: has segments; format it first (format_wav)"
                )
            fs = fs or read_fs(args.src, args.fs)
            tables = {"wav.scp": part.wav_scp, **part.tables}
            chosen = []
            for utt, samples in part.tables["utt2num_samples"].items():
                length = to_count(samples, f"{args.src}/utt2num_samples", utt) / fs
                text = part.tables["text"][utt] if "text" in part.tables else None
                reason = why_dropped(length, text, *bounds)
                counts[reason] += 1
                seconds[reason] += length
                if reason is None:
                    chosen.append(utt)
            add({name: {u: t[u] for u in chosen} for name, t in tables.items()})
        for reason in sorted(filter(None, counts)):
            hours = seconds[reason] / 3600
            print(f"{args.src}: dropped {counts[reason]} ({hours:.3f} h): {reason}")
        if not counts[None]:
            raise DataError(
                f"{args.src}: none of {counts.total()} utterances is left; widen "
                "--min_wav_duration and --max_wav_duration, or check the transcripts"
            )
        # before wav.scp, which says that all is there
        (Path(args.dst) / "wav.scp").unlink(missing_ok=True)
        for note in ("audio_format", "feats_type", "fs"):
            if (Path(args.src) / note).is_file():
                content = (Path(args.src) / note).read_bytes()
                write_atomic(Path(args.dst) / note, content)
    hours = seconds[None] / 3600
    print(f"{args.dst}: kept {counts[None]} of {counts.total()} ({hours:.3f} h)")
