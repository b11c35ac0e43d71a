"""Small AMI corpora in the genuine layout: Asterisk prompts, genuine annotation."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import soundfile

from helpers.commands import SPEECH

FS = 16000
GRID = 160  # samples; the annotation has times in hundredths of a second
HEAD = '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n'
ROOT = '<nite:root nite:id="{}" xmlns:nite="http://nite.sourceforge.net/">\n'
# the readme in the genuine archive of 1.6.2 begins like this
README = "AMI Manual Annotations release 1.7\nDate: 16th June 2014\n"
MEETINGS = ("EN2001a", "ES2002a", "ES2011a", "ES2004a")  # train, train, dev, eval


@dataclass
class Spoken:
    """What somebody says from a time on; "de-" is a word that is broken off.

    Attributes:
        start: in samples, on the grid.
        words: with punctuation at the end of words.
        audio: int16, a multiple of the grid.
    """

    start: int
    words: str
    audio: np.ndarray

    @property
    def end(self) -> int:
        return self.start + len(self.audio)


def on_grid(audio: np.ndarray) -> np.ndarray:
    """Cut to a multiple of 10 ms."""
    return audio[: len(audio) // GRID * GRID]


def _words_xml(meeting: str, agent: str, spoken: Sequence[Spoken]) -> tuple[str, str]:
    """The files words/ and segments/ of a speaker; words share their time evenly."""
    words, segments, number = "", "", 0

    def word(start: int, end: int, text: str, more: str = "") -> None:
        nonlocal words, number
        times = f'starttime="{start / FS:.2f}" endtime="{end / FS:.2f}"'
        name = f"{meeting}.{agent}.words{number}"
        words += f'   <w nite:id="{name}" {times}{more}>{escape(text)}</w>\n'
        number += 1

    for index, part in enumerate(spoken):
        first, tokens = number, part.words.split()
        steps = len(part.audio) // GRID
        bounds = [
            part.start + i * steps // len(tokens) * GRID for i in range(len(tokens) + 1)
        ]
        for token, start, end in zip(tokens, bounds, bounds[1:]):
            bare = token.rstrip(",.?")
            if bare.endswith("-"):
                word(start, end, bare[:-1], ' trunc="true"')
            elif bare:
                word(start, end, bare)
            for mark in token[len(bare) :]:
                word(end, end, mark, ' punc="true"')
        times = f'"{part.start / FS:.3f}" transcriber_end="{part.end / FS:.3f}"'
        last = f"{meeting}.{agent}.words{number - 1}"
        segments += (
            f'   <segment nite:id="{meeting}.sync.{index}" transcriber_start={times}>\n'
            f'      <nite:child href="{meeting}.{agent}.words.xml#'
            f'id({meeting}.{agent}.words{first})..id({last})"/>\n   </segment>\n'
        )
    words += f'   <vocalsound nite:id="{meeting}.{agent}.v" type="laugh"/>\n'
    return words, segments


def write_ami(
    corpus: Path, meetings: Mapping[str, Mapping[int, Sequence[Spoken]]]
) -> None:
    """Write a corpus: meeting -> headset -> what is said into it.

    Speakers are FEO<number of the headset>, agents A, B, ...; the arrays hear all of
    them, halved.
    """
    manual = corpus / "ami_public_manual_1.6.2"
    for folder in ("words", "segments", "corpusResources"):
        (manual / folder).mkdir(parents=True, exist_ok=True)
    (manual / "00README_MANUAL.txt").write_text(README)
    table = ""
    for meeting, headsets in meetings.items():
        table += f'   <meeting nite:id="{meeting}" observation="{meeting}">\n'
        audio = corpus / meeting / "audio"
        audio.mkdir(parents=True)
        length = FS + max(part.end for spoken in headsets.values() for part in spoken)
        room = np.zeros(length, np.int32)
        for headset, spoken in headsets.items():
            agent = "ABCDE"[headset]
            words, segments = _words_xml(meeting, agent, spoken)
            for kind, content in (("words", words), ("segments", segments)):
                name = f"{meeting}.{agent}.{kind}"
                text = HEAD + ROOT.format(name) + content + "</nite:root>\n"
                (manual / kind / f"{name}.xml").write_text(text, "latin-1")
            table += (
                f'      <speaker nite:id="{meeting}_{headset}" channel="{headset}" '
                f'nxt_agent="{agent}" global_name="FEO{headset:03d}"/>\n'
            )
            signal = np.zeros(length, np.int16)
            for part in spoken:
                signal[part.start : part.end] = part.audio
            soundfile.write(audio / f"{meeting}.Headset-{headset}.wav", signal, FS)
            room += signal // 2
        table += "   </meeting>\n"
        far = np.clip(room, -32768, 32767).astype(np.int16)
        soundfile.write(audio / f"{meeting}.Array1-01.wav", far, FS)
        soundfile.write(audio / f"{meeting}_MDM8.wav", far, FS)
    text = HEAD + ROOT.format("meet.00") + table + "</nite:root>\n"
    (manual / "corpusResources" / "meetings.xml").write_text(text, "latin-1")


def prompts_as_meetings(
    prompts: Sequence[tuple[str, np.ndarray]],
) -> dict[str, dict[int, list[Spoken]]]:
    """Meetings of four, one of five, who take turns and sometimes overlap by half."""
    meetings: dict[str, dict[int, list[Spoken]]] = {}
    per_meeting = len(prompts) // len(MEETINGS)
    for number, name in enumerate(MEETINGS):
        speakers = 5 if name == "EN2001a" else 4
        headsets: dict[int, list[Spoken]] = {h: [] for h in range(speakers)}
        now = FS
        part = prompts[number * per_meeting : (number + 1) * per_meeting]
        for turn, (words, audio) in enumerate(part):
            spoken = Spoken(now // GRID * GRID, words, on_grid(audio))
            headsets[turn % speakers].append(spoken)
            now += len(audio) // (2 if turn % 3 else 1)
            busy = headsets[
                (turn + 1) % speakers
            ]  # speakers do not overlap with themselves
            now = max([now, *(s.end + GRID for s in busy)])
        meetings[name] = headsets
    return meetings


def genuine_ami(corpus: Path, speech: np.ndarray) -> None:
    """The genuine annotation of six meetings, and 30 s of other speech as each array.

    Args:
        corpus: Folder to write.
        speech: int16, 30 s; the preparation reads its length only.
    """
    name = "ami_public_manual_1.6.2"
    shutil.copytree(SPEECH / name, corpus / name)
    words = (corpus / name / "words").iterdir()
    for meeting in {path.name.partition(".")[0] for path in words}:
        audio = corpus / meeting / "audio"
        audio.mkdir(parents=True)
        soundfile.write(audio / f"{meeting}.Array1-01.wav", speech, FS)
