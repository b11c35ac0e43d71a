"""Drop utterances that are too short, too long or have no text (stage 4).

Usage: filter_lengths --min_wav_duration 0.1 --max_wav_duration 20 SRC DST
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.datadir import DataDir, writing_data_dir
from espnet_a2m.data.tables import to_count


@dataclass
class Tally:
    """A number of utterances and their length."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One utterance more."""
        self.count += 1
        self.seconds += seconds

    @property
    def hours(self) -> float:
        """Their length in hours."""
        return self.seconds / 3600

    def __str__(self) -> str:
        return f"{self.count} ({self.hours:.3f} h)"


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
    """The sampling rate in Hz: as given, or as stage 3 noted it in SRC/fs."""
    note = Path(source) / "fs"
    noted = note.read_bytes().decode(errors="replace") if note.is_file() else ""
    noted = noted.strip() if noted.isascii() else ""
    if fs is None and not noted.isdigit():
        raise DataError(f"{note}: no sampling rate there; give --fs")
    if fs is not None and noted.isdigit() and fs != int(noted):
        raise DataError(f"{note}: says {noted} Hz, --fs says {fs}; format SRC again")
    return int(noted) if fs is None else fs


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--min_wav_duration", type=float, default=0.1, metavar="S")
    parser.add_argument("--max_wav_duration", type=float, default=20.0, metavar="S")
    parser.add_argument("--fs", type=int, help="Hz; default: what stage 3 noted")
    parser.add_argument("src", metavar="SRC", help="formatted data directory")
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    args = parser.parse_args(argv)
    need = ("wav.scp", "utt2spk", "utt2num_samples")
    bounds = (args.min_wav_duration, args.max_wav_duration)
    fs = 0
    dropped: dict[str, Tally] = {}
    kept, seen = Tally(), Tally()
    with contextlib.ExitStack() as stack:
        add = None
        for part in DataDir.parts(args.src, need, allow_empty_text=True):
            if part.segments is not None:
                raise DataError(f"{args.src}: has segments; format it first (stage 3)")
            if add is None:
                fs = read_fs(args.src, args.fs)
                add = stack.enter_context(writing_data_dir(args.dst, part.tables))
            tables = {"wav.scp": part.wav_scp, **part.tables}
            counts = part.tables["utt2num_samples"]
            texts = part.tables.get("text")
            chosen = []
            for utt in part.utts:
                path = f"{args.src}/utt2num_samples"
                seconds = to_count(counts[utt], path, utt) / fs
                text = None if texts is None else texts[utt]
                seen.add(seconds)
                reason = why_dropped(seconds, text, *bounds)
                if reason is None:
                    kept.add(seconds)
                    chosen.append(utt)
                else:
                    dropped.setdefault(reason, Tally()).add(seconds)
            add({name: {u: t[u] for u in chosen} for name, t in tables.items()})
        for reason, some in sorted(dropped.items()):
            print(f"{args.src}: dropped {some}: {reason}")
        if not kept.count:
            raise DataError(
                f"{args.src}: none of {seen.count} utterances is left; widen "
                "--min_wav_duration and --max_wav_duration, or check the transcripts"
            )
        # before wav.scp, which says that all is there
        (Path(args.dst) / "wav.scp").unlink(missing_ok=True)
        for note in ("audio_format", "feats_type", "fs"):
            if (Path(args.src) / note).is_file():
                write_atomic(
                    Path(args.dst) / note, (Path(args.src) / note).read_bytes()
                )
    print(f"{args.dst}: kept {kept.count} of {seen.count} ({kept.hours:.3f} h)")


if __name__ == "__main__":
    main()
