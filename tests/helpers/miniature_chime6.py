"""Small CHiME-6 corpora in the genuine layout, from Asterisk prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

FS = 16000
GRID = 160  # samples; the transcriptions have times in hundredths of a second
PARTS = {
    **dict.fromkeys(("S03", "S04", "S05"), "train"),
    **{"S02": "dev", "S09": "dev", "S01": "eval"},
}
FIRST_SPEAKER = {"S03": 9, "S04": 9, "S02": 5, "S09": 25, "S01": 1}
LOCATIONS = ("kitchen", "dining", "living")
ARRAYS = ("U01", "U02")


def time_of(sample: int) -> str:
    """H:MM:SS.cc"""
    hundredths = sample // GRID
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def entry(
    session: str, speaker: str, start: int, end: int, words: str, **more: str
) -> dict[str, Any]:
    """An entry of a transcription; `more`: ref and location, of dev and eval."""
    times = {"end_time": time_of(end), "start_time": time_of(start)}
    return {**times, "words": words, "speaker": speaker, "session_id": session, **more}


def write_transcription(corpus: Path, session: str, entries: Sequence[Any]) -> Path:
    """Write transcriptions/<part>/<session>.json."""
    path = corpus / "transcriptions" / PARTS[session] / f"{session}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(entries), indent=4), "utf-8")
    return path


def write_audio(corpus: Path, session: str, signals: Mapping[str, np.ndarray]) -> None:
    """Write audio/<part>/<session>_<device>.wav: (samples,) or (samples, channels)."""
    folder = corpus / "audio" / PARTS[session]
    folder.mkdir(parents=True, exist_ok=True)
    for device, signal in signals.items():
        soundfile.write(folder / f"{session}_{device}.wav", signal, FS)


def write_session(
    corpus: Path, session: str, prompts: Sequence[tuple[str, np.ndarray]]
) -> dict[tuple[str, int], np.ndarray]:
    """Four people who take turns, in three locations, and every kind of tag.

    The left worn channel has the speaker as he is, the right one at half, channel c of
    an array everybody divided by c.

    Returns:
        What was placed: (speaker, first sample) -> int16 samples.
    """
    first = FIRST_SPEAKER[session]
    speakers = [f"P{first + i:02d}" for i in range(4)]
    tags = ("{}", "[laughs] {}", "{} [noise]", "{} - [inaudible 0:00:01.00]")
    placed: dict[tuple[str, int], np.ndarray] = {}
    entries = []
    now = FS
    for turn, (words, audio) in enumerate(prompts):
        audio = audio[: len(audio) // GRID * GRID]
        speaker = speakers[turn % 4]
        start = now // GRID * GRID
        more = {}
        if PARTS[session] != "train":
            location = LOCATIONS[3 * turn // len(prompts)]
            more = {"ref": ARRAYS[turn % len(ARRAYS)], "location": location}
        text = tags[turn % len(tags)].format(words)
        entries.append(entry(session, speaker, start, start + len(audio), text, **more))
        placed[speaker, start] = audio
        now += len(audio) // (2 if turn % 3 == 0 else 1)  # the next one cuts in
    length = now + 8 * FS
    # what is left out, or has nothing but tags
    quiet = length - FS
    for words, seconds in (
        ("[redacted]", 0.5),
        ("[laughs]", 0.5),
        ("Nothing lasts.", 0.0),
    ):
        end = quiet + round(seconds * FS)
        more = {} if PARTS[session] == "train" else {"ref": "U01", "location": "living"}
        entries.append(entry(session, speakers[0], quiet, end, words, **more))
    write_transcription(corpus, session, entries)
    worn = {speaker: np.zeros((length, 2), np.int16) for speaker in speakers}
    room = np.zeros(length, np.int32)
    for (speaker, start), audio in placed.items():
        worn[speaker][start : start + len(audio), 0] = audio
        worn[speaker][start : start + len(audio), 1] = audio // 2
        room[start : start + len(audio)] += audio // 2
    far = {
        f"{array}.CH{channel}": (room // channel).astype(np.int16)
        for array in ARRAYS
        for channel in range(1, 5)
    }
    write_audio(corpus, session, {**worn, **far})
    return placed
