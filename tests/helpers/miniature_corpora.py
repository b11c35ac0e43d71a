"""Miniatures of corpora in their genuine layouts, from the Asterisk prompts.

The speech and its words are real; speakers, books and talks are invented.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from espnet_a2m.data.audio import convert
from helpers import asterisk_sounds

FS = 16000
GAP = 0.5  # seconds between prompts in a recording


class Prompt(NamedTuple):
    """What is said and its int16 samples at 16 kHz."""

    text: str
    samples: np.ndarray


@functools.cache
def prompts() -> tuple[Prompt, ...]:
    """English prompts of 1.2 to 5 s, in the order of their names."""
    return tuple(
        Prompt(" ".join(re.sub(r"[^A-Z']", " ", text.upper()).split()), samples)
        for text, samples in asterisk_sounds.prompts(1.2, 5)[:90]
    )


def join(some: Iterable[Prompt]) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """One recording of several prompts, and (start, end, text) of each in seconds."""
    silence = np.zeros(int(GAP * FS), np.int16)
    parts, spans, now = [silence], [], GAP
    for prompt in some:
        end = now + len(prompt.samples) / FS
        spans.append((round(now, 2), round(end, 2), prompt.text))
        parts += [prompt.samples, silence]
        now = end + GAP
    return np.concatenate(parts), spans


def write(path: Path, samples: np.ndarray, fs: int = FS, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, fs, **options)
    return path


def librispeech(folder: Path, parts: dict[str, tuple[Prompt, ...]]) -> Path:
    """<part>/<speaker>/<chapter>/: .flac and .trans.txt; two speakers a part."""
    for index, (part, some) in enumerate(parts.items()):
        for side in (0, 1):
            speaker, chapter = 100 * (index + 1) + side, 5000 + index
            home = folder / part / str(speaker) / str(chapter)
            lines = []
            for number, prompt in enumerate(some[side::2]):
                utt = f"{speaker}-{chapter}-{number:04d}"
                write(home / f"{utt}.flac", prompt.samples)
                lines.append(f"{utt} {prompt.text}\n")
            (home / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return folder


def librilight(folder: Path, parts: dict[str, tuple[Prompt, ...]]) -> Path:
    """<part>/<speaker>/<book>/<file>.flac and .json; two speakers a part, 99 in all."""
    for index, (part, some) in enumerate(parts.items()):
        for side, speaker in enumerate(("99", str(990 + index))):
            book = folder / part / speaker / f"book_{index}_librivox_64kb_mp3"
            samples, spans = join(some[side::2])
            name = f"book_{index}_01_author_64kb"
            write(book / f"{name}.flac", samples)
            about = {
                "speaker": speaker,
                "book_meta": {"id": str(index), "title": "Prompts", "genre": []},
                "snr": 12.3,
                "voice_activity": [[start, end] for start, end, _ in spans],
            }
            (book / f"{name}.json").write_text(json.dumps(about))
    return folder


def tedlium(folder: Path, parts: dict[str, tuple[Prompt, ...]], legacy: bool) -> Path:
    """[legacy/]<part>/sph/<talk>.sph and stm/<talk>.stm; two talks a part."""
    for part, some in parts.items():
        home = folder / "legacy" / part if legacy else folder / part
        for side in (0, 1):
            talk = f"Speaker{part.title()}{side}_2010"
            samples, spans = join(some[side::2])
            write(home / "sph" / f"{talk}.sph", samples, format="NIST")
            lines = [
                f"{talk} 1 inter_segment_gap 0 {spans[0][0]} <o,,unknown> "
                "ignore_time_segment_in_scoring\n"
            ]
            for start, end, text in spans:
                said = text.lower().replace("'", " '")
                lines.append(
                    f"{talk} 1 {talk} {start} {end} <o,f0,male> {said} <unk>\n"
                )
            (home / "stm").mkdir(exist_ok=True)
            (home / "stm" / f"{talk}.stm").write_text("".join(lines))
    return folder


CV_COLUMNS = (
    *("client_id", "path", "sentence", "up_votes", "down_votes"),
    *("age", "gender", "accents", "locale", "segment"),
)


def commonvoice(folder: Path, parts: dict[str, tuple[Prompt, ...]]) -> Path:
    """en/<part>.tsv and en/clips/*.mp3 at 32 kHz; the last sentence has a digit."""
    number = 17250000
    for part, some in parts.items():
        lines = ["\t".join(CV_COLUMNS)]
        for index, prompt in enumerate(some):
            number += 1
            name = f"common_voice_en_{number}.mp3"
            audio = convert(prompt.samples, FS, 32000)
            write(folder / "en" / "clips" / name, audio, 32000, format="MP3")
            sentence = f"“{prompt.text.capitalize()}.”"
            if index == len(some) - 1:
                sentence = "Chapter 4"
            client = f"{part[:2].encode().hex()}{index % 2}" * 25
            values = (client, name, sentence, "2", "0", "", "", "", "en", "")
            lines.append("\t".join(values))
        (folder / "en" / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def call(some: tuple[Prompt, ...]) -> tuple[np.ndarray, list[list[tuple]]]:
    """A conversation: (samples, 2) at 8 kHz, and what is said on either side."""
    sides = [join(some[side::2]) for side in (0, 1)]
    longest = max(len(samples) for samples, _ in sides)
    both = [np.pad(samples, (0, longest - len(samples))) for samples, _ in sides]
    low = [convert(samples, FS, 8000) for samples in both]
    return np.stack(low, axis=1), [spans for _, spans in sides]


def switchboard(folder: Path, some: tuple[Prompt, ...]) -> Path:
    """swb1/sw02001.sph, two channels of mu-law, and swb_ms98_transcriptions/."""
    samples, sides = call(some)
    audio = folder / "swb1" / "sw02001.sph"
    write(audio, samples, 8000, format="NIST", subtype="ULAW")
    home = folder / "swb_ms98_transcriptions" / "20" / "2001"
    home.mkdir(parents=True)
    for side, spans in zip("AB", sides):
        utt = f"sw2001{side}-ms98-a"
        lines = [f"{utt}-0001 0.000000 {spans[0][0]:.6f} [silence]"]
        for number, (start, end, text) in enumerate(spans, 2):
            said = f"[noise] {text.lower()} th[e]-"
            lines.append(f"{utt}-{number:04d} {start:.6f} {end:.6f} {said}")
        (home / f"{utt}-trans.text").write_text("\n".join(lines) + "\n")
    return folder


def fisher(folder: Path, some: tuple[Prompt, ...]) -> Path:
    """Both parts, a call in each, as lhotse expects LDC's folders."""
    for part, year in ((1, 2004), (2, 2005)):
        samples, sides = call(some[part - 1 :: 2])
        name = f"fe_03_0000{part}"
        disc = folder / f"LDC{year}S13" / f"fe_03_p{part}_sph1" / "audio" / "000"
        write(disc / f"{name}.sph", samples, 8000, format="NIST", subtype="ULAW")
        home = folder / f"LDC{year}T19"
        (home / "data" / "trans" / "000").mkdir(parents=True)
        (home / "doc").mkdir()
        lines = [f"# {name}.sph", "# Transcribed at the LDC", ""]
        said = [(*span, side) for side, spans in zip("AB", sides) for span in spans]
        for start, end, text, side in sorted(said):
            lines.append(f"{start} {end} {side}: {text.lower()} [laughter]\n")
        lines.append("0.1 0.4 A: (( inaudible ))\n")
        table = home / "data" / "trans" / "000" / f"{name}.txt"
        table.write_text("\n".join(lines))
        fields = ",".join("ABCDEFGHIJKL")
        calls = f"{fields}\n0000{part},,,,,1{part},,,,,2{part},\n"
        (home / "doc" / f"fe_03_p{part}_calldata.tbl").write_text(calls)
    return folder


def wsj(folder: Path, some: tuple[Prompt, ...]) -> Path:
    """Discs of WSJ0 and WSJ1 under LDC's names, a third of the prompts in each set."""
    third = len(some) // 3
    sets = (
        ("11-1.1", "wsj0/si_tr_s", "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx", 0),
        ("13-16.1", "wsj1/si_dt_20", "13-34.1/wsj1/doc/indices/h1_p0.ndx", 1),
        (
            "11-14.1",
            "wsj0/si_et_20",
            "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx",
            2,
        ),
    )
    for disc, place, index, number in sets:
        speaker = f"44{number}"
        lines, dots = ["; an index of LDC's"], []
        for count, prompt in enumerate(some[number * third : (number + 1) * third]):
            utt = f"{speaker}c02{count:02d}"
            home = folder / disc / place / speaker
            write(home / f"{utt}.wv1", prompt.samples, format="NIST")
            ending = "" if number == 2 else ".wv1"  # as LDC has it
            lines.append(
                f"{disc.translate({45: 95, 46: 95})}:{place}/{speaker}/{utt}{ending}"
            )
            dots.append(f"{prompt.text.capitalize()} \\. [loud_breath] ({utt})")
        (home / f"{speaker}c0200.dot").write_text("\n".join(dots) + "\n")
        (folder / index).parent.mkdir(parents=True, exist_ok=True)
        (folder / index).write_text("\n".join(lines) + "\n")
    second = folder / "13-34.1" / "wsj1" / "doc" / "indices" / "si_tr_s.ndx"
    second.write_text(
        "; nothing of this miniature\n11_2_1:wsj0/si_tr_s/401/401c0201.wv1\n"
    )
    return folder
