"""Reading of corpora: errors name the file and the fix."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview, warn

#: Ends an error about an incomplete corpus
PARTIAL = "--allow_missing true prepares what is there"

# existing files are not written again: an interrupted loop can be restarted
UNSHORTEN = """libsndfile cannot read that. sph2pipe (https://www.openslr.org/3) unpacks
them; this makes a second tree, with what is not compressed copied as it is, to be named
in the recipe's db.sh instead (NEW: a folder of your choice, with room for it):

NEW={new}
cd {old} && find -L . -type f | while IFS= read -r file; do
    [ ! -e "$NEW/$file" ] || continue
    mkdir -p "$NEW/${{file%/*}}"
    if head -c 1024 "$file" | grep -aq shorten; then
        sph2pipe -p -f sph "$file" "$NEW/$file.part" </dev/null
    else
        cp "$file" "$NEW/$file.part"
    fi && mv "$NEW/$file.part" "$NEW/$file"
done
"""


def report_missing(message: str, where: str, allow_missing: bool) -> None:
    """Warn of missing files, which `message` names and which are left out.

    Raises DataError without `allow_missing`, with `where` the corpus can be obtained.
    """
    if not allow_missing:
        raise DataError(f"{message}. {where} {PARTIAL}")
    warn(f"{message}; they are left out")


def find_corpus(
    folder: Path, inside: Iterable[str], markers: Sequence[str], where: str
) -> Path:
    """`folder` or one `inside` it, which has a marker in it. Raises DataError."""
    places = [folder, *(folder / name for name in inside)]
    for place in places:
        if any(any(place.glob(marker)) for marker in markers):
            return place
    raise DataError(
        f"{folder}: no {' or '.join(markers)} in it (looked in "
        f"{', '.join(map(str, places))}). {where}"
    )


def check_sphere(origin: Path, files: Iterable[Path]) -> None:
    """Raise DataError for NIST SPHERE files that are shortened or truncated.

    libsndfile takes the length from the size of a file, so it does not notice that one
    is truncated. `origin` is the corpus' directory; other formats are ignored.
    """
    packed, cut = [], []
    for path in files:
        with path.open("rb") as stream:
            header = stream.read(1024)
        if b"shorten" in header:  # the header's sample_coding
            packed.append(str(path))
        elif path.stat().st_size < _sphere_bytes(header):
            cut.append(str(path))
    if packed:
        old = origin.absolute()
        advice = UNSHORTEN.format(
            old=shlex.quote(str(old)), new=shlex.quote(f"{old}-unpacked")
        )
        raise DataError(
            f"{len(packed)} files are compressed by shorten: {preview(packed)}; "
            f"{advice}"
        )
    if cut:
        raise DataError(
            f"{len(cut)} files are truncated, shorter than their headers say: "
            f"{preview(cut)}; copy them again"
        )


def _sphere_bytes(header: bytes) -> int:
    """The size of a SPHERE file in bytes by its header; 0 where it does not say."""
    lines = header.decode("latin-1").splitlines()
    values = {words[0]: words[2] for x in lines if len(words := x.split()) == 3}
    try:
        if lines[0] != "NIST_1A":
            return 0
        names = ("sample_count", "sample_n_bytes", "channel_count")
        count, width, channels = (int(values[name]) for name in names)
        return int(lines[1]) + count * width * channels
    except (IndexError, KeyError, ValueError):
        return 0


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Numbers and non-blank lines of a text. Raises DataError where it is no UTF-8."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: damaged: no text at byte {error.start}; copy it again"
        ) from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def files_below(
    folder: Path, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[Path]:
    """All files below a folder, in order.

    Links to the discs of a corpus are followed, as rglob does not; one to a folder
    `above` is not.
    """
    status = folder.stat()
    key = (status.st_dev, status.st_ino)
    if key in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from files_below(path, (*above, key))
        elif path.is_file():
            yield path
