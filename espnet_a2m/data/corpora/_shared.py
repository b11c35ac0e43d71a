"""What corpora share: reading that names file and fix, data directories, counts.

`segments` names a channel of a multi-channel recording, so that formatting reads the
samples of an utterance and no others.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview, warn
from espnet_a2m.data.audio import SHORTENED, AudioInfo
from espnet_a2m.data.datadir import Segment, write_data_dir
from espnet_a2m.data.formatting.format_headers import read_headers
from espnet_a2m.data.formatting.format_jobs import END_SLACK
from espnet_a2m.data.tables import check_key

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
    if errors:
        shown = "\n  ".join(errors.values())
        message = f"{len(errors)} problem(s) with the audio:\n  {shown}"
        if SHORTENED in shown:
            old, new = str(origin.absolute()), f"{origin.absolute()}-unpacked"
            message += UNSHORTEN.format(old=shlex.quote(old), new=shlex.quote(new))
        raise DataError(message)
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


def files_below(
    folder: Path, onerror: Callable[[OSError], object] | None = None
) -> Iterator[Path]:
    """All visible files below a folder, each folder once; links are followed.

    Links that lead nowhere are among them. Raises OSError for a folder that cannot be
    read, or calls ``onerror``.
    """

    def stop(error: OSError) -> None:
        raise error

    seen = set()
    for name, folders, files in os.walk(
        folder, onerror=onerror or stop, followlinks=True
    ):
        if (real := os.path.realpath(name)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(name, f) for f in sorted(files) if not f.startswith("."))


class EmptySet(DataError):
    """A set has no utterance."""


@dataclass
class Utterances:
    """The content of a data directory, filled utterance by utterance."""

    origin: Path  # the corpus' directory, for error messages
    wav_scp: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)  # other utt2*
    out_of_range: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    def add(
        self,
        utt: str,
        audio: AudioInfo,
        channel: int,
        start: float,
        end: float,
        speaker: str,
        text: str,
    ) -> None:
        """Add seconds `start` to `end` of a channel of a recording.

        Annotation of a corpus cannot be fixed here: an utterance that lies outside of
        the recording or has no length goes to `out_of_range`, one whose id exists
        already to `duplicates`; both are left out. An id that is no key is a DataError.
        """
        check_key(utt, str(self.origin))
        check_key(speaker, str(self.origin))
        if utt in self.segments:
            self.duplicates.append(utt)
            return
        if not 0 <= start < min(audio.seconds, end) or end > audio.seconds + END_SLACK:
            self.out_of_range.append(utt)
            return
        if channel >= audio.channels:
            raise DataError(f"{audio.path}: {utt}: it has no channel {channel}")
        path = Path(audio.path).absolute()
        if self.wav_scp.setdefault(path.stem, str(path)) != str(path):
            raise DataError(
                f"{self.origin}: two files are called {path.stem}: {path} and "
                f"{self.wav_scp[path.stem]}"
            )
        index = channel if audio.channels > 1 else None
        self.segments[utt] = Segment(path.stem, start, end, index)
        self.utt2spk[utt] = speaker
        self.text[utt] = text

    def add_call(
        self, audio: AudioInfo, channel: int, start: float, end: float, text: str
    ) -> None:
        """Add a part of a telephone call, with ids as in Kaldi's recipes.

        A side of a call is a speaker; a person who calls twice is two.
        """
        speaker = f"{Path(audio.path).stem}-{'AB'[channel]}"
        utt = f"{speaker}_{hundredths(start, end, digits=6)}"
        self.add(utt, audio, channel, start, end, speaker, text)

    @property
    def counts(self) -> dict[str, float]:
        """For `compare_counts`; in "hours", overlaps count twice."""
        return {
            "recordings": len(self.wav_scp),
            "utterances": len(self.segments),
            "words": sum(len(text.split()) for text in self.text.values()),
            "hours": sum(s.end - s.start for s in self.segments.values()) / 3600,
        }

    def write(self, path: Path) -> None:
        """Write the data directory. Raises EmptySet when there is no utterance."""
        outside = "that pass the end of their recording, or have no length"
        double = "whose ids others have, of which the first are kept"
        for some, why in ((self.out_of_range, outside), (self.duplicates, double)):
            if some:
                warn(f"{path}: {len(some)} utterances left out {why}: {preview(some)}")
        if not self.segments:
            raise EmptySet(f"{self.origin}: no utterance for {path.name} in it")
        tables = {**self.tables, "utt2spk": self.utt2spk, "text": self.text}
        write_data_dir(path, self.wav_scp, tables, self.segments)
        counts = self.counts
        print(
            f"{path}: {counts['recordings']} recordings, {counts['utterances']} "
            f"utterances, {counts['words']} words, {counts['hours']:.2f} h"
        )


def hundredths(start: float, end: float, digits: int = 7) -> str:
    """Times in hundredths of a second, as Kaldi's ids have them: "0004060-0004382"."""
    return f"{round(100 * start):0{digits}d}-{round(100 * end):0{digits}d}"


def compare_counts(
    what: str, found: Mapping[str, float], published: Mapping[str, float], source: str
) -> None:
    """Warn of every count of the set `what` that differs from one that is published.

    Counts are as {"utterances": 105149, "hours": 77.9}; those found are rounded to the
    precision of the published ones.
    """
    for name, expected in published.items():
        digits = len(repr(expected).partition(".")[2])
        value = round(found[name], digits) if digits else round(found[name])
        if value != expected:
            warn(
                f"{what}: {value:,} {name} where {expected:,} are expected ({source}): "
                "another version of the corpus, or a part of it?"
            )
