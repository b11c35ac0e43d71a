"""One spelling, LibriSpeech's, for all transcripts: A-Z, apostrophe, space."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

_APOSTROPHES = str.maketrans("’ʼ`´", "''''")
_TAG = re.compile(r"\[[^\]]*\]")  # [noise], [inaudible 0:01:02.03]
_PUNCTUATION = re.compile(r"""[-.,;:!?"“”„«»()\[\]…/_–—‑‘]""")
# a phrase between two apostrophes is quoted; one between letters is a contraction's
_QUOTED = re.compile(r"(?<![A-Z])'((?:[^']|(?<=[A-Z])'(?=[A-Z]))+)'(?![A-Z])")
_ALONE = re.compile(r"(?<![^\W\d_])'+(?![^\W\d_])")  # between letters of no kind
_COMMON = re.compile(r"[A-Z' ]*")


def respell(text: str, quotes: bool = False) -> str:
    """Upper case, tags in [ ] dropped, punctuation and hyphens to spaces.

    Other characters (digits, "&", "É") stay. With `quotes`, apostrophes are quotation
    marks, too; a phrase between "'tis" and "brothers'" loses both. Without, what has
    the common form already is not touched.
    """
    if not quotes and _COMMON.fullmatch(text):
        return " ".join(text.split())
    spelled = _TAG.sub(" ", text).upper().translate(_APOSTROPHES)
    spelled = _PUNCTUATION.sub(" ", spelled)
    if quotes:
        spelled = _QUOTED.sub(r"\1", spelled)
    return " ".join(_ALONE.sub(" ", spelled).split())


def common(text: str, quotes: bool = False) -> str | None:
    """The common form: `respell`, when that has nothing but A-Z, apostrophe, space.

    >>> common("“Mother-in-law,” she'd say, isn’t one.")
    "MOTHER IN LAW SHE'D SAY ISN'T ONE"

    Returns "" when no word is in it, None for a character whose sound is anyone's guess
    (a digit, "&", "é").
    """
    spelled = respell(text, quotes)
    return spelled if _COMMON.fullmatch(spelled) else None


@dataclass
class CommonForm:
    """`common`, which remembers what it could not spell.

    Args:
        quotes: as `respell` has it.
        keep_all: of a test set, which must not lose what is hard to spell or to
            recognise: `respell`, or what was transcribed where no word is left.
    """

    quotes: bool = False
    keep_all: bool = False
    left_out: list[str] = field(default_factory=list)
    wordless: list[str] = field(default_factory=list)

    def __call__(self, text: str, transcribed: str | None = None) -> str:
        """The common form of `text`; "" (no utterance) when there is none.

        `transcribed` is the text before a corpus' rules, such as "[laughter]".
        """
        transcribed = " ".join((text if transcribed is None else transcribed).split())
        if self.keep_all:
            return respell(text, self.quotes) or transcribed
        spelled = common(text, self.quotes)
        if spelled is None:
            self.left_out.append(text)
        elif not spelled:
            self.wordless.append(transcribed)
        return spelled or ""

    def report(self, name: str) -> None:
        """Say how many utterances of the set `name` are left out, and one of them."""
        for some, why in (
            (self.left_out, "with characters that are no letter"),
            (self.wordless, "without a word that was understood"),
        ):
            if some:
                print(
                    f"{name}: {len(some)} utterances left out, {why}, e.g. {some[0]!r}",
                    file=sys.stderr,
                )
