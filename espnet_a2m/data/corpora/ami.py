"""AMI meetings (full-corpus-ASR partition), headsets and arrays.

lhotse reads the annotation, cuts it into segments at full stops, and at commas above
30 words, and normalises the text. The audio is looked up here, by file name: lhotse
numbers the existing headsets, so that with one missing the others would get the words
of the wrong speaker, and it leaves out recordings with two channels.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import DataError, UserError, preview, warn
from espnet_a2m.data.audio import audio_info
from espnet_a2m.data.corpora import _shared as shared

if TYPE_CHECKING:
    from lhotse.recipes.ami import AmiSegmentAnnotation

SETS = {
    f"{mic}_{part}": text
    for mic, text in (
        ("ihm", "each speaker's headset"),
        ("sdm1", "the first microphone of the first array"),
        ("mdm8", "eight microphones of the first array, beamformed"),
    )
    for part in ("train", "dev", "eval")
}
WHERE = (
    "AMI (CC BY 4.0) is at https://groups.inf.ed.ac.uk/ami: the audio, "
    "<meeting>/audio/<meeting>.Headset-0.wav and so on, and the annotation "
    "ami_public_manual_1.6.2.zip."
)
BEAMFORMED = (
    "Beamformed <meeting>/audio/<meeting>_MDM8.wav are computed from Array1-01.wav "
    "to -08.wav by BeamformIt (https://github.com/xanguera/BeamformIt, as in Kaldi's "
    "egs/ami/s5b), or downloaded: `lhotse download ami --mic mdm8-bf`."
)
# Hugging Face's edinburghcstr/ami, said to be of the same recipe, has 108,502.
SOURCE = (
    "said to be those of Kaldi's egs/ami/s5b, from annotation 1.6.1, cut at question "
    "marks, too; not confirmed"
)
PUBLISHED = {
    "ihm_train": {"utterances": 105149},
    "ihm_dev": {"utterances": 13059},
    "ihm_eval": {"utterances": 12612},
}
OPTIONS = {"annotations": "ami_public_manual_1.6.2, unpacked or .zip; default: there"}

VERSION = "1.6.2"
RELEASES = (VERSION, "1.7")  # the readme in the archive of 1.6.2 calls itself 1.7
README = "00README_MANUAL.txt"
MAX_WORDS = 30
# https://groups.inf.ed.ac.uk/ami/corpus/dataproblems.shtml, as Kaldi's recipe cites it
NO_ARRAY = ("IS1003b", "IS1007d")
FORGOTTEN = ("IB4005",)  # in Kaldi's lists of 137, 18 and 16 meetings, not in lhotse's
ROOTS = ("", "amicorpus/", "wav_db/")  # the last is lhotse's
#: Meeting -> speaker and headset -> segments with words
Meetings = dict[str, dict[tuple[str, int], list["AmiSegmentAnnotation"]]]


def prepare(
    corpus_dir: Path,
    sets: list[str],
    allow_missing: bool = False,
    annotations: str | None = None,
) -> Iterator[tuple[str, shared.Utterances]]:
    """Yield the data directories of `sets`; warn of words that lhotse drops.

    `corpus_dir` contains <meeting>/audio/, or `amicorpus` or `wav_db` with them, and
    ami_public_manual_1.6.2 or its .zip unless `annotations` is given.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = _annotation_folder(corpus_dir, annotations, Path(temporary))
        _check_version(folder, annotations)
        missing = _check_annotation(folder)
        meetings = _read_annotation(folder)
    for name in sets:
        yield name, _make_set(corpus_dir, name, meetings, missing, allow_missing)


def download(folder: Path, sets: list[str]) -> Path:
    """Download annotation and audio of `sets`, none of mdm8; existing files stay."""
    from lhotse.recipes.ami import download_ami

    mics = {name.partition("_")[0] for name in sets}
    if "mdm8" in mics:
        raise UserError(f"mdm8 is not downloaded from here: {BEAMFORMED}")
    for mic in sorted(mics):
        download_ami(folder, mic=mic.rstrip("1"))
    return folder


def _annotation_folder(corpus_dir: Path, given: str | None, temporary: Path) -> Path:
    """The annotation as a folder; a .zip is unpacked in the folder `temporary`."""
    name = f"ami_public_manual_{VERSION}"
    places = [Path(given)] if given else [corpus_dir / name, corpus_dir / f"{name}.zip"]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        others = sorted(p.name for p in corpus_dir.glob("ami_public_manual_*"))
        raise DataError(
            f"{' or '.join(map(str, places))}: no such annotation (--annotations)"
            + (f", but {preview(others)} of another version" if others else "")
            + f". {WHERE}"
        )
    if found.is_dir():
        return found
    folder = temporary / found.stem
    try:
        shutil.unpack_archive(found, folder, "zip")
    except (shutil.ReadError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{found}: damaged ({error}); download it again") from None
    return next(folder.rglob("corpusResources"), folder / "corpusResources").parent


def _check_version(folder: Path, given: str | None) -> None:
    readme = folder / README
    if not readme.is_file():
        raise DataError(
            f"{given or folder}: no {README} in it that tells its version; unpack "
            f"ami_public_manual_{VERSION}.zip completely. {WHERE}"
        )
    text = readme.read_text("utf-8", errors="replace")
    release = re.search(r"release ([\d.]*\d)", text)
    named = re.search(r"ami_public_manual_([\d.]*\d)", str(given or folder))
    for found, allowed in ((named, (VERSION,)), (release, RELEASES)):
        if found and found[1] not in allowed:
            raise DataError(
                f"{given or readme}: release {found[1]} of the annotation, where "
                f"{VERSION} is expected: other segments and counts. {WHERE}"
            )


def _check_annotation(folder: Path) -> dict[str, list[str]]:
    """Meeting -> missing files of the speakers that meetings.xml lists."""
    meetings = folder / "corpusResources" / "meetings.xml"
    if not meetings.is_file():
        raise DataError(f"{meetings}: no such file; unpack all of the annotation")
    missing: dict[str, list[str]] = {}
    try:
        for meeting in ET.parse(meetings).getroot():
            name = meeting.attrib["observation"]
            for speaker in meeting:
                for kind in ("segments", "words"):
                    file = f"{kind}/{name}.{speaker.attrib['nxt_agent']}.{kind}.xml"
                    if not (folder / file).is_file():
                        missing.setdefault(name, []).append(file)
    except (ET.ParseError, KeyError) as error:
        raise DataError(f"{meetings}: damaged ({error}); unpack it again") from None
    for segments in shared.visible(folder / "segments", "*.xml"):
        words = folder / "words" / segments.name.replace(".segments.", ".words.")
        if not words.is_file():
            raise DataError(f"{words}: no such file; unpack all of the annotation")
    return missing


def _read_annotation(folder: Path) -> Meetings:
    from lhotse.recipes.ami import parse_ami_annotations

    dropped = BufferingHandler(sys.maxsize)  # a warning for every word
    dropped.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(dropped)
    try:
        found = parse_ami_annotations(folder, "kaldi", MAX_WORDS)
    except (ET.ParseError, KeyError, TypeError, ValueError) as error:
        raise _damage(folder, error) from None
    finally:
        root.removeHandler(dropped)
    if dropped.buffer:
        warn(
            f"lhotse left out {len(dropped.buffer)} words of {folder.name}, the first: "
            f"{dropped.buffer[0].getMessage()}"
        )
    meetings: Meetings = {}
    for (meeting, speaker, channel), segments in found.items():
        spoken = [s for s in segments if s.text and s.start_time < s.end_time]
        meetings.setdefault(meeting, {})[speaker, channel] = spoken
    return meetings


def _damage(folder: Path, error: Exception) -> DataError:
    """The error about the file that lhotse could not read."""
    for path in shared.visible(folder, "*/*.xml"):
        try:
            ET.parse(path)
        except ET.ParseError as reason:
            return DataError(f"{path}: damaged ({reason}); unpack the annotation again")
    return DataError(
        f"{folder}: not NXT annotation as expected ({error!r}); unpack it again"
    )


def _make_set(
    corpus_dir: Path,
    name: str,
    meetings: Meetings,
    missing_annotation: dict[str, list[str]],
    allow_missing: bool,
) -> shared.Utterances:
    from lhotse.recipes.ami import PARTITIONS

    mic, _, part = name.partition("_")
    partition = PARTITIONS["full-corpus-asr"]["test" if part == "eval" else part]
    if part == "train":
        partition = [*partition, *FORGOTTEN]
    found = shared.Utterances(corpus_dir)
    missing: dict[str, list[str]] = {}  # meeting -> files
    for meeting in partition:
        if meeting in NO_ARRAY and mic != "ihm":
            print(f"{name}: {meeting} has no array recording: left out")
            continue
        files = list(missing_annotation.get(meeting, []))
        if meeting not in meetings and not files:
            files.append(f"{meeting} in meetings.xml")
        for (speaker, headset), segments in sorted(meetings.get(meeting, {}).items()):
            file, tag = {
                "ihm": (f"{meeting}.Headset-{headset}.wav", f"H{headset:02d}"),
                "sdm1": (f"{meeting}.Array1-01.wav", "SDM"),
                "mdm8": (f"{meeting}_MDM8.wav", "MDM"),
            }[mic]
            places = [f"{root}{meeting}/audio" for root in ROOTS]
            if mic == "mdm8":  # as the corpus' site has them
                places += [f"beamformed/{meeting}", meeting]
            paths = [corpus_dir / place / file for place in places]
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                files.append(f"{meeting}/audio/{file}")
            else:
                _add(found, path, f"AMI_{meeting}_{tag}_{speaker}", segments)
        if files:
            missing[meeting] = list(dict.fromkeys(files))
    if missing:
        present = {recording[:7].rstrip("._") for recording in found.wav_scp}
        # first those that are there in part
        incomplete = sorted(missing, key=lambda meeting: meeting not in present)
        all_files = [file for meeting in incomplete for file in missing[meeting]]
        message = (
            f"{corpus_dir}: {name}: {len(missing)} meeting(s) missing or incomplete, "
            f"{len(all_files)} file(s): {preview(all_files, 10)}"
        )
        where = BEAMFORMED if mic == "mdm8" else WHERE
        shared.report_missing(message, where, allow_missing)
    return found


def _add(
    found: shared.Utterances,
    path: Path,
    speaker: str,
    segments: list[AmiSegmentAnnotation],
) -> None:
    audio = audio_info(str(path), channel=0)
    if audio.channels > 1:  # ES2010d.Array1-01 of the genuine corpus has two
        print(f"{path}: the first of {audio.channels} channels is used")
    for part in segments:
        start, end = part.start_time, part.end_time
        utt = f"{speaker}_{int(100 * start + 0.5):07d}_{int(100 * end + 0.5):07d}"
        if found.text.get(utt) != part.text:  # some are annotated twice
            found.add(utt, audio, 0, start, end, speaker, part.text)
