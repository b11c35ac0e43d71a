"""Reading of corpora: errors name the file and the fix."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_a2m.core.errors import DataError, warn
from espnet_a2m.data.audio import SHORTENED, AudioInfo
from espnet_a2m.data.formatting.format_headers import raise_all, read_headers

THREADS = 4  # headers of 281,241 files wait for the disk
#: Ends an error about an incomplete corpus
PARTIAL = "--allow_missing true prepares what is there"

# existing files are not written again: an interrupted loop can be restarted
UNSHORTEN = """
sph2pipe (https://www.openslr.org/3) unpacks them; this writes a second tree, with what
is not compressed copied as it is, to be named in the recipe's db.sh instead (NEW: a
folder of your choice, with room for it):

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
        if any(visible(place, marker) for marker in markers):
            return place
    raise DataError(
        f"{folder}: no {' or '.join(markers)} in it (looked in "
        f"{', '.join(map(str, places))}). {where}"
    )


def read_audio_infos(origin: Path, paths: Iterable[Path | str]) -> dict[str, AudioInfo]:
    """Open recordings of a corpus in the directory `origin`: by path, what they say.

    Raises one DataError about all that are missing, damaged, truncated or shortened.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        infos, errors = read_headers([(str(path), 0) for path in paths], pool)
    advice, old = "", str(origin.absolute())
    if any(SHORTENED in error for error in errors.values()):
        new = shlex.quote(f"{old}-unpacked")
        advice = UNSHORTEN.format(old=shlex.quote(old), new=new)
    raise_all(errors.values(), advice)
    return {path: info for (path, _), info in infos.items()}


def visible(folder: Path, pattern: str) -> list[Path]:
    """What fits a glob pattern, in order; "._a.flac" beside "a.flac" is macOS's own."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not path.name.startswith("."))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Numbers and non-blank lines of a text. Raises DataError where it is no UTF-8."""
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{number}: damaged: no UTF-8 at byte {error.start}; copy it again"
        ) from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def files_below(folder: Path) -> Iterator[Path]:
    """All visible files below a folder, each folder once; links are followed."""
    seen = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(name)) in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(name, f) for f in sorted(files) if not f.startswith("."))
        yield from (path for path in paths if path.is_file())
