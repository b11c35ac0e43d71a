"""Check data directories before hours are spent on them."""

from __future__ import annotations

import argparse
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard, preview, warn
from espnet_a2m.data.datadir import DataDir, missing_audio
from espnet_a2m.data.formatting.format_headers import BadAudio, add_skip_bad_audio
from espnet_a2m.data.formatting.wav_pipes import add_allow_pipes


def check(path: str, need: list[str], allow_pipes: bool, skip_bad_audio: bool) -> int:
    """Check one directory, or raise DataError; return its number of utterances."""
    parts = DataDir.parts(path, ["utt2spk", *need], allow_pipes=allow_pipes)
    count = sum(len(part.utts) for part in parts)
    if missing := missing_audio(Path(path) / "wav.scp"):
        if not skip_bad_audio:
            error = BadAudio(missing, Path(path))
            error.write()
            raise error
        warn(f"{path}: {len(missing)} recordings are missing: {preview(missing)}")
    return count


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dirs", nargs="+", metavar="DIR", help="data directories")
    parser.add_argument(
        "--need",
        action="append",
        default=[],
        metavar="TABLE",
        help="table that must be there, e.g. text; may be repeated",
    )
    add_allow_pipes(parser)
    add_skip_bad_audio(parser)
    args = parser.parse_args(argv)
    allow_pipes, skip = args.allow_pipes == "true", args.skip_bad_audio == "true"
    errors = []
    for path in args.dirs:
        try:
            count = check(path, args.need, allow_pipes, skip)
            print(f"{path}: {count} utterances, well-formed")
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("\nERROR: ".join(errors))
