"""One spelling for transcripts of different corpora: A-Z, apostrophe, space.

LibriSpeech is written like that; what is trained or tested on several corpora at once
needs the others in the same form.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

_APOSTROPHES = str.maketrans("’ʼ`´", "''''")
_TAG = re.compile(r"\[[^\]]*\]")  # [noise], [inaudible 0:01:02.03]
_PUNCTUATION = re.compile(r"""[-.,;:!?"“”„«»()\[\]…/_–—‑‘]""")
# a phrase between two apostrophes is quoted; one between letters is a contraction's
_QUOTED = re.compile(r"(?<![A-Z])'((?:[^']|(?<=[A-Z])'(?=[A-Z]))+)'(?![A-Z])")
_ALONE = re.compile(r"(?<![A-Z])'+(?![A-Z])")


def common(text: str) -> str | None:
    """Upper case, tags in [ ] dropped, punctuation and hyphens to spaces.

    >>> common("“Mother-in-law,” she'd say, isn’t one.")
    "MOTHER IN LAW SHE'D SAY ISN'T ONE"

    Returns:
        the text, "" when no word is in it, or None when a character is in it whose
        sound is anyone's guess (a digit, "&", "é").
    """
    spelled = _TAG.sub(" ", text).upper().translate(_APOSTROPHES)
    spelled = _QUOTED.sub(r"\1", _PUNCTUATION.sub(" ", spelled))
    spelled = " ".join(_ALONE.sub(" ", spelled).split())
    return spelled if re.fullmatch(r"[A-Z' ]*", spelled) else None


@dataclass
class CommonForm:
    """`common`, which remembers what it could not spell."""

    left_out: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> str:
        """The common form; "" (no utterance) when there is none."""
        spelled = common(text)
        if spelled is None:
            self.left_out.append(text)
        return spelled or ""

    def report(self, name: str) -> None:
        """Say how many utterances of the set `name` are left out, and one of them."""
        if self.left_out:
            print(
                f"{name}: {len(self.left_out)} utterances left out, with characters "
                f"that are no letter, e.g. {self.left_out[0]!r}",
                file=sys.stderr,
            )
