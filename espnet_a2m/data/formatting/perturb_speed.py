"""Add speed-perturbed copies of every utterance to a data directory.

As in ESPnet, the copies and their speakers are named sp0.9-<id>; factor 1.0 keeps the
names. No audio is written: the factors go to `utt2speed`, which format_wav applies.
"""

from __future__ import annotations

import argparse

from espnet_a2m.core.errors import DataError, main_guard, preview
from espnet_a2m.data.datadir import DataDir, Segment, write_data_dir
from espnet_a2m.data.formatting.wav_pipes import add_allow_pipes

SLOWEST, FASTEST = 0.5, 2.0


def parse_factors(text: str) -> list[str]:
    """Split "0.9 1.0 1.1" into factors, keeping how they are written (ids show it)."""
    factors = text.replace(",", " ").split()
    try:
        values = [float(factor) for factor in factors]
    except ValueError:
        values = []
    valid = all(SLOWEST <= value <= FASTEST for value in values)
    if not (valid and 0 < len(set(values)) == len(factors)):
        raise DataError(
            f"speed factors {text!r}: expected different numbers from {SLOWEST} to "
            f"{FASTEST}, e.g. --factors '0.9 1.0 1.1'"
        )
    return factors


def perturb(source: DataDir, factors: list[str], target: str) -> int:
    """Write to `target` one copy of `source` per factor; return the utterance count."""
    wav_scp: dict[str, str] = {}
    segments: dict[str, Segment] = {}
    tables: dict[str, dict[str, str]] = {name: {} for name in source.tables}
    tables["utt2speed"] = {}
    for factor in factors:
        prefix = "" if float(factor) == 1.0 else f"sp{factor}-"
        copies = {prefix + utt: utt for utt in source.utts}
        if taken := sorted(tables["utt2speed"].keys() & copies):
            raise DataError(
                f"{source.path}: {preview(taken)} is already an utterance there; is "
                "the directory speed-perturbed already?"
            )
        tables["utt2speed"] |= dict.fromkeys(copies, factor)
        if source.segments is None:
            wav_scp |= {copy: source.wav_scp[utt] for copy, utt in copies.items()}
        else:
            segments |= {copy: source.segments[utt] for copy, utt in copies.items()}
        for name, table in source.tables.items():
            start = prefix if name == "utt2spk" else ""
            tables[name] |= {copy: start + table[utt] for copy, utt in copies.items()}
    write_data_dir(target, wav_scp or source.wav_scp, tables, segments or None)
    return len(tables["utt2speed"])


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--factors", default="0.9 1.0 1.1", help='speeds, default "0.9 1.0 1.1"'
    )
    parser.add_argument("src", metavar="SRC", help="data directory to read")
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    add_allow_pipes(parser)
    args = parser.parse_args(argv)
    factors = parse_factors(args.factors)
    source = DataDir.load(args.src, allow_pipes=args.allow_pipes == "true")
    if "utt2speed" in source.tables or "utt2num_samples" in source.tables:
        raise DataError(
            f"{args.src}: has been speed-perturbed or formatted already; give the "
            "directory that data preparation wrote"
        )
    count = perturb(source, factors, args.dst)
    print(f"{args.dst}: {count} utterances at speeds {', '.join(factors)}")
