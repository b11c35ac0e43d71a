"""CHiME-6 dinner parties: worn microphones and arrays, by the challenge's rules.

Partition, text rules and times are lhotse's. Ids, so that scores can be compared, and
the utterances that are left out are the challenge's (Kaldi's egs/chime6/s5_track1). The
audio is looked up here, by file name: lhotse counts the channels of the existing files,
and needs all sessions of a part.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_a2m.core.errors import DataError, Preview, preview
from espnet_a2m.data.corpora._counts import compare_counts
from espnet_a2m.data.corpora._kaldi import Utterances, hundredths
from espnet_a2m.data.corpora._reading import read_complete_recording, report_missing

if TYPE_CHECKING:
    from lhotse import Recording

SETS = {
    "ihm_train": "worn microphones, left channel",
    "ihm_dev": "the same",
    "ihm_eval": "the same",
    "mdm_train": "channel 1 of every array: each utterance up to six times",
    "dev": "channel 1 of the utterance's reference array",
    "eval": "the same",
}
WHERE = (
    "CHiME-6 (CC BY-SA 4.0) is at https://openslr.org/150: CHiME6_train.tar.gz, "
    "CHiME6_dev.tar.gz, CHiME6_eval.tar.gz and CHiME6_transcriptions.tar.gz, unpacked "
    "to audio/<part>/ and transcriptions/<part>/."
)
SOURCE = "https://chimechallenge.github.io/chime6/track2_data.html"
PUBLISHED: dict[str, dict[str, float]] = {}  # counts of these sets: none
ENTRIES = {"train": 79980, "dev": 7440, "eval": 11028}  # of the transcriptions

ARRAYS = ("U01", "U02", "U03", "U04", "U05", "U06")
# arrays that were not recorded: those without files in audio_md5sums.txt of
# https://github.com/chimechallenge/chime6-synchronisation
NO_ARRAY = {
    ("S01", "U03"),
    ("S05", "U03"),
    ("S05", "U04"),
    ("S09", "U05"),
    ("S22", "U03"),
}
# worn microphones that failed, left out of training by Kaldi's recipe
BAD_WORN = {("P11", "S03"), ("P52", "S19"), ("P53", "S24"), ("P54", "S24")}
TAG = re.compile(r"\[[^\]]*\]")
LOCATIONS = ("DINING", "KITCHEN", "LIVING")
NO_LOCATION = "NOLOCATION"  # Kaldi's word


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """Yield the data directories of `sets`.

    Args:
        corpus_dir: contains {audio,transcriptions}/{train,dev,eval}.
        sets: some of `SETS`.
        allow_missing: leave out sessions and audio that are missing.

    Raises:
        DataError: a file is missing, damaged, or of CHiME-5.
    """
    for name in sets:
        yield name, _make_set(corpus_dir, name, allow_missing)


def arrays_of(session: str) -> list[str]:
    """The arrays that were recorded in a session."""
    return [array for array in ARRAYS if (session, array) not in NO_ARRAY]


def normalise(words: str, training: bool) -> str:
    """The text of an utterance by the challenge's rules; "" if it is left out.

    Lower case without punctuation, without `[redacted]` utterances. The other tags
    ([noise], [laughs], [inaudible 0:00:00.00]) are not scored, so they are removed. An
    utterance of dev or eval that consists of tags keeps them: recognised words count as
    insertions there.
    """
    from lhotse.recipes.utils import normalize_text_chime6

    # lhotse keeps quotation marks, and a dash that begins an utterance: Kaldi's text
    # has a blank before it
    text = normalize_text_chime6(" " + words.replace('"', ""), normalize="kaldi")
    plain = " ".join(TAG.sub(" ", text).split())
    return plain if plain or training else " ".join(text.split())


def _make_set(corpus_dir: Path, name: str, allow_missing: bool) -> Utterances:
    from lhotse.recipes.chime6 import DATASET_PARTS

    mic, _, part = name.rpartition("_")
    root = corpus_dir
    if (root / "CHiME6").is_dir():  # where the array synchronisation writes it
        root /= "CHiME6"
    found = Utterances(corpus_dir)
    missing: list[str] = []
    invalid = _Invalid()
    entries = 0
    for session in DATASET_PARTS[part]:
        file = root / "transcriptions" / part / f"{session}.json"
        if not file.is_file():
            missing.append(f"transcriptions/{part}/{session}.json")
            continue
        audio = _Audio(root / "audio" / part, session, missing)
        for number, entry in enumerate(read_session(file), 1):
            entries += 1
            where = f"{file}: entry {number}"
            if mic == "ihm" and part == "train" and _pair(entry) in BAD_WORN:
                continue
            _add(found, entry, where, mic, part, audio, invalid)
    if missing := list(dict.fromkeys(missing)):
        message = (
            f"{corpus_dir}: {len(missing)} file(s) of {name} are missing: "
            f"{preview(missing, 10)}"
        )
        report_missing(message, WHERE, allow_missing)
    invalid.report(name)
    what, published = f"transcriptions/{part}", {"entries": ENTRIES[part]}
    compare_counts(what, {"entries": entries}, published, SOURCE)
    return found


@dataclass
class _Invalid:
    """Entries of dev or eval without a valid location or reference array."""

    location: Preview = field(default_factory=Preview)
    array: Preview = field(default_factory=Preview)

    def report(self, name: str) -> None:
        for some, what in (
            (self.location, f"no location ({', '.join(LOCATIONS)}): {NO_LOCATION}"),
            (self.array, "no reference array that was recorded: left out"),
        ):
            if some.count:
                print(
                    f"WARNING: {name}: {some.count} utterances have {what} ({some})",
                    file=sys.stderr,
                )


class _Audio:
    """The recordings of a session, each opened once; missing files are collected."""

    def __init__(self, folder: Path, session: str, missing: list[str]) -> None:
        self.folder = folder
        self.session = session
        self.missing = missing
        self.opened: dict[str, Recording | None] = {}

    def __getitem__(self, device: str) -> Recording | None:
        """The recording of "P05" or "U02.CH1"."""
        if device not in self.opened:
            path = self.folder / f"{self.session}_{device}.wav"
            exists = path.is_file()
            self.opened[device] = read_complete_recording(path) if exists else None
            if not exists:
                self.missing.append(f"audio/{self.folder.name}/{path.name}")
        return self.opened[device]


def read_session(file: Path) -> list[dict[str, Any]]:
    """The entries of a session's transcription.

    Raises:
        DataError: it is damaged, of CHiME-5 or of a release without words.
    """
    try:
        entries = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error}); unpack it again") from None
    if not (isinstance(entries, list) and all(isinstance(e, dict) for e in entries)):
        raise DataError(f"{file}: not a list of utterances; unpack it again. {WHERE}")
    # the sessions of CHiME-5 begin with an entry about the session, without a speaker
    entries = [e for e in entries if "words" in e or "speaker" in e]
    for number, entry in enumerate(entries, 1):
        where = f"{file}: entry {number}"
        keys = ("session_id", "speaker", "start_time", "end_time", "words")
        if missing := [key for key in keys if key not in entry]:
            raise DataError(
                f"{where}: has no {preview(missing)}; unpack it again. {WHERE}"
            )
        if isinstance(entry["start_time"], dict):
            raise DataError(
                f"{where}: a time for every device, as in CHiME-5, whose audio is not "
                f"synchronised. {WHERE}"
            )
        if entry["words"] == "placeholder":
            raise DataError(
                f"{where}: the words are a placeholder, as in the forced alignments "
                f"(CHiME6_falign), which have no transcripts. {WHERE}"
            )
    return entries


def _pair(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["speaker"], entry["session_id"]


def _seconds(time: str, where: str) -> float:
    from lhotse.recipes.utils import TimeFormatConverter

    try:
        return TimeFormatConverter.hms_to_seconds(time)
    except (ValueError, AttributeError):
        raise DataError(
            f"{where}: {time!r} is not a time such as 1:02:03.45. {WHERE}"
        ) from None


def _add(
    found: Utterances,
    entry: dict[str, Any],
    where: str,
    mic: str,
    part: str,
    audio: _Audio,
    invalid: _Invalid,
) -> None:
    start = _seconds(entry["start_time"], where)
    end = _seconds(entry["end_time"], where)
    text = normalise(entry["words"], training=part == "train")
    if start >= end or not text:
        return
    location = NO_LOCATION
    if part != "train":
        location = str(entry.get("location", "")).upper()
        if location not in LOCATIONS:
            invalid.location.add(where)
            location = NO_LOCATION
    speaker, session = _pair(entry)
    # device in the file name -> signal in Kaldi's ids
    if mic == "ihm":
        devices = {speaker: f"{location}.L"}
    elif mic == "mdm":
        devices = {f"{a}.CH1": f"{a}_{location}.CH1" for a in arrays_of(session)}
    else:
        array = entry.get("ref")
        if array not in arrays_of(session):
            invalid.array.add(where)
            return
        devices = {f"{array}.CH1": f"{array}_{location}.CH1"}
    for device, signal in devices.items():
        recording = audio[device]
        if recording is None:
            continue
        utt = f"{speaker}_{session}_{signal}-{hundredths(start, end)}"
        if found.text.get(utt) == text:
            continue
        found.add(utt, recording, 0, start, end, speaker, text)
        if part != "train" and utt in found.text:
            found.tables.setdefault("utt2session", {})[utt] = session
            found.tables.setdefault("utt2location", {})[utt] = location
