"""Transcripts of the English prompts as they are spoken: A-Z, apostrophe, space."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from espnet_a2m.core.errors import DataError

# Prompts without speech, by name: the same names are tones in every language.
NOT_SPEECH = {
    "ascending-2tone",
    "beep",
    "beeperr",
    "confbridge-join",
    "confbridge-leave",
    "descending-2tone",
    "tt-monkeys",
}

# How numbers of several digits are read out (checked with a recogniser: extensions
# and passwords digit by digit).
NUMBERS = {
    "28.8": "TWENTY EIGHT POINT EIGHT",
    "500": "FIVE ZERO ZERO",
    "600": "SIX ZERO ZERO",
    "1234": "ONE TWO THREE FOUR",
    "4242": "FOUR TWO FOUR TWO",
    "8500": "EIGHT FIVE ZERO ZERO",
    "H.323": "H THREE TWO THREE",
}
DIGITS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"
SYMBOLS = {"#": "POUND", "*": "STAR"}
# Names spoken letter by letter, and what the transcripts misspell.
WORDS = {
    "IAX": "I A X",
    "IP": "I P",
    "IVR": "I V R",
    "MGCP": "M G C P",
    "PBX": "P B X",
    "USB": "U S B",
    "EXCLAIMATION": "EXCLAMATION",
    "INDENTIFIED": "IDENTIFIED",
    "REPRESENATIVES": "REPRESENTATIVES",
    "THRU": "THROUGH",
    "UMUTE": "UNMUTE",
    "WITHELD": "WITHHELD",
}


def is_speech(prompt: str) -> bool:
    """Whether a prompt, e.g. "digits/1", is speech (not a tone, silence, monkeys)."""
    return prompt not in NOT_SPEECH and not prompt.startswith("silence/")


def normalize(text: str) -> str:
    """Spell a transcript as it is spoken.

    >>> normalize("press * to toggle pause, press # to exit... [beep]")
    'PRESS STAR TO TOGGLE PAUSE PRESS POUND TO EXIT'
    """
    spoken = re.sub(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", " ", text).upper()
    spoken = re.sub(r"\bWWW\.ASTERISK\.ORG\b", "W W W DOT ASTERISK DOT ORG", spoken)
    spoken = re.sub(r"\b([A-Z])\.(?=[A-Z]\b)", r"\1 ", spoken)  # A.M. -> A M
    for number, said in NUMBERS.items():
        spoken = re.sub(rf"(?<![\w.]){re.escape(number)}(?!\.?\w)", said, spoken)
    spoken = re.sub(
        r"(?<!\d)\d(?!\d)", lambda m: f" {DIGITS.split()[int(m[0])]} ", spoken
    )
    spoken = re.sub(r"[#*]", lambda m: f" {SYMBOLS[m[0]]} ", spoken)
    spoken = re.sub(r"[-.,;:!?\"]", " ", spoken)
    spoken = " ".join(WORDS.get(word, word) for word in spoken.split())
    if not re.fullmatch(r"[A-Z' ]*", spoken):
        raise DataError(
            f"transcript {text!r}: no rule spells {spoken!r}; add what is said to "
            f"NUMBERS or WORDS in {Path(__file__).name}"
        )
    return spoken


def read_transcripts(path: Path) -> dict[str, str]:
    """Read core-sounds-en.txt(.gz): raw transcript by prompt name; at least one."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    transcripts = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        prompt, colon, text = line.partition(":")
        if colon and not line.startswith(";"):
            transcripts[prompt.strip()] = text.strip()
    if not transcripts:
        raise DataError(f"{path}: no '<prompt>: <text>' lines in it")
    return transcripts


def spoken_texts(transcripts: dict[str, str]) -> dict[str, str]:
    """Normalised text of every prompt that is speech."""
    texts = {p: normalize(raw) for p, raw in transcripts.items() if is_speech(p)}
    return {prompt: text for prompt, text in texts.items() if text}
