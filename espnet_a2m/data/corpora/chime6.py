"""CHiME-6 dinner parties: worn microphones and arrays, by the challenge's rules.

Partition, text rules and times are lhotse's. Ids, so that scores can be compared, and
the utterances that are left out are the challenge's (Kaldi's egs/chime6/s5_track1). The
audio is looked up here, by file name: lhotse counts the channels of the existing files,
and needs all sessions of a part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espnet_a2m.core.errors import DataError, Preview, preview, warn
from espnet_a2m.data.audio import AudioInfo, audio_info
from espnet_a2m.data.corpora import _shared as shared

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
ENTRIES = {"train": 79980, "dev": 7440, "eval": 11028}  # of the transcriptions

ARRAYS = ("U01", "U02", "U03", "U04", "U05", "U06")
# arrays that were not recorded: those without files in audio_md5sums.txt of
# https://github.com/chimechallenge/chime6-synchronisation
NO_ARRAY = {"S01": ("U03",), "S05": ("U03", "U04"), "S09": ("U05",), "S22": ("U03",)}
# worn microphones that failed, left out of training by Kaldi's recipe
BAD_WORN = {("P11", "S03"), ("P52", "S19"), ("P53", "S24"), ("P54", "S24")}
TAG = re.compile(r"\[[^\]]*\]")
LOCATIONS = ("DINING", "KITCHEN", "LIVING")
NO_LOCATION = "NOLOCATION"  # Kaldi's word
NO_PLACE = f"no location ({', '.join(LOCATIONS)}): {NO_LOCATION}"
NO_REFERENCE = "no reference array that was recorded: left out"


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """Yield the data directories of `sets`.

    `corpus_dir` contains {audio,transcriptions}/{train,dev,eval}, or a folder CHiME6
    with them.
    """
    for name in sets:
        yield name, _make_set(corpus_dir, name, allow_missing)


def arrays_of(session: str) -> list[str]:
    """The arrays that were recorded in a session."""
    return [array for array in ARRAYS if array not in NO_ARRAY.get(session, ())]


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


def _make_set(corpus_dir: Path, name: str, allow_missing: bool) -> shared.Utterances:
    from lhotse.recipes.chime6 import DATASET_PARTS

    mic, _, part = name.rpartition("_")
    root = corpus_dir
    if (root / "CHiME6").is_dir():  # where the array synchronisation writes it
        root /= "CHiME6"
    found = shared.Utterances(corpus_dir)
    missing: dict[str, None] = {}  # files, in order
    invalid = {NO_PLACE: Preview(), NO_REFERENCE: Preview()}
    entries, training = 0, part == "train"
    for session in DATASET_PARTS[part]:
        file = root / "transcriptions" / part / f"{session}.json"
        if not file.is_file():
            missing[f"transcriptions/{part}/{session}.json"] = None
            continue
        audio: dict[str, AudioInfo] = {}
        for number, entry in enumerate(read_session(file), 1):
            entries += 1
            where = f"{file}: entry {number}"
            speaker = entry["speaker"]
            if mic == "ihm" and training and (speaker, session) in BAD_WORN:
                continue
            start, end = (_seconds(entry[f"{x}_time"], where) for x in ("start", "end"))
            text = normalise(entry["words"], training)
            if start >= end or not text:
                continue
            location = str(entry.get("location", "")).upper()
            if training or location not in LOCATIONS:
                location = NO_LOCATION
                if not training:
                    invalid[NO_PLACE].add(where)
            devices = _devices(entry, session, mic, location)
            if not devices:
                invalid[NO_REFERENCE].add(where)
            for device, signal in devices.items():
                file_name = f"audio/{part}/{session}_{device}.wav"
                if device not in audio:
                    if not (root / file_name).is_file():
                        missing[file_name] = None
                        continue
                    audio[device] = audio_info(str(root / file_name), channel=0)
                utt = f"{speaker}_{session}_{signal}-{shared.hundredths(start, end)}"
                if found.text.get(utt) == text:
                    continue
                found.add(utt, audio[device], 0, start, end, speaker, text)
                if not training and utt in found.text:
                    found.tables.setdefault("utt2session", {})[utt] = session
                    found.tables.setdefault("utt2location", {})[utt] = location
    if missing:
        message = (
            f"{corpus_dir}: {len(missing)} file(s) of {name} are missing: "
            f"{preview(missing, 10)}"
        )
        shared.report_missing(message, WHERE, allow_missing)
    for what, some in invalid.items():
        if some.count:
            warn(f"{name}: {some.count} utterances have {what} ({some})")
    what, published = f"transcriptions/{part}", {"entries": ENTRIES[part]}
    shared.compare_counts(what, {"entries": entries}, published, SOURCE)
    return found


def _devices(
    entry: dict[str, Any], session: str, mic: str, location: str
) -> dict[str, str]:
    """Device in the file name -> signal in Kaldi's ids, of what heard an entry."""
    if mic == "ihm":
        return {entry["speaker"]: f"{location}.L"}
    arrays = arrays_of(session)
    if mic != "mdm":
        arrays = [array for array in arrays if array == entry.get("ref")]
    return {f"{array}.CH1": f"{array}_{location}.CH1" for array in arrays}


def read_session(file: Path) -> list[dict[str, Any]]:
    """The entries of a transcription that is complete, of CHiME-6 and has words."""
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


def _seconds(time: str, where: str) -> float:
    from lhotse.recipes.utils import TimeFormatConverter

    try:
        return TimeFormatConverter.hms_to_seconds(time)
    except (ValueError, AttributeError):
        raise DataError(
            f"{where}: {time!r} is not a time such as 1:02:03.45. {WHERE}"
        ) from None
