"""lhotse's readers with errors that a user can mend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.audio_files import audio_info
from espnet_a2m.errors import DataError, few

if TYPE_CHECKING:
    from lhotse import Recording

UNSHORTEN = (
    "libsndfile cannot read that. Unpack them where they lie, or in a copy, by "
    "`sph2pipe -p -f sph FILE NEW` (https://www.openslr.org/3) under the same names"
)


def find_corpus(
    folder: Path, inside: Iterable[str], markers: Sequence[str], where: str
) -> Path:
    """The folder that has a marker in it: `folder`, or one of those `inside` it.

    Raises:
        DataError: there is none; `where` says where the corpus is to be had.
    """
    places = [folder, *(folder / name for name in inside)]
    for place in places:
        if any(any(place.glob(marker)) for marker in markers):
            return place
    raise DataError(
        f"{folder}: no {' or '.join(markers)} in it (looked in "
        f"{', '.join(map(str, places))}). {where}"
    )


@contextlib.contextmanager
def reading(origin: Path) -> Iterator[None]:
    """Have lhotse read audio by libsndfile, and name the file that it cannot read.

    lhotse would start the program sph2pipe for every .sph file.
    """
    from lhotse.audio.backend import audio_backend
    from lhotse.audio.utils import AudioLoadingError
    from soundfile import LibsndfileError

    try:
        with audio_backend("LibsndfileBackend"):
            yield
    except (AudioLoadingError, LibsndfileError) as error:
        raise DataError(
            f"{origin}: a file cannot be read as audio; get it again. {error}"
        ) from None


def read_recording(path: Path) -> Recording:
    """The header of an audio file. Raises DataError when it has none."""
    from lhotse import Recording

    if not path.is_file():
        raise DataError(f"{path}: no such file: is the corpus complete?")
    with reading(path):
        return Recording.from_file(path)


def read_whole_recording(path: Path) -> Recording:
    """The header of an audio file that is as long as it says. Raises DataError."""
    audio_info(str(path), channel=0)
    return read_recording(path)


def check_not_shortened(files: Iterable[Path]) -> None:
    """Raise DataError for NIST SPHERE files that are compressed by shorten."""
    packed = []
    for path in files:
        with path.open("rb") as stream:
            if b"shorten" in stream.read(1024):  # the header's sample_coding
                packed.append(str(path))
    if packed:
        raise DataError(
            f"{len(packed)} files are compressed by shorten: {few(packed)}; {UNSHORTEN}"
        )
