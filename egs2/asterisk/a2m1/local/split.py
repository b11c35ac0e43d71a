"""Divide the prompts into sets by hashes of their texts, without random numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

TRAIN, DEV, TEST = "train_sup", "dev", "test_clean"

# Shares of (dev, test) by number of words. Single words, of which a third of the
# prompts consist, stay mostly in training; prompts of a few sentences go there too:
# one of them would be most of a test set.
SHARES = ((1, 0.06, 0.06), (3, 0.15, 0.13), (40, 0.17, 0.14))
LONGEST_EVALUATED = 15.0  # seconds

# Foreign prompts that are only the babble of test_far.
BABBLE_PER_LANGUAGE = 6
BABBLE_SECONDS = (4.0, 12.0)


def fraction_of(name: str) -> float:
    """A number in [0, 1) that depends on `name` alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def set_of(text: str, longest: float) -> str:
    """The set of a normalised text whose longest recording takes `longest` seconds."""
    words = len(text.split())
    place = fraction_of(text)
    for most_words, dev, test in SHARES:
        if words <= most_words and longest <= LONGEST_EVALUATED:
            if place < dev:
                return DEV
            return TEST if place < dev + test else TRAIN
    return TRAIN


def split(
    texts: Mapping[str, str], seconds: Mapping[str, float]
) -> dict[str, list[str]]:
    """Assign every prompt to TRAIN, DEV or TEST; the same text goes to the same set.

    `texts` are normalised, by prompt, as `seconds` are.
    """
    longest: dict[str, float] = {}
    for prompt, text in texts.items():
        longest[text] = max(longest.get(text, 0.0), seconds[prompt])
    sets: dict[str, list[str]] = {TRAIN: [], DEV: [], TEST: []}
    for prompt in sorted(texts):
        sets[set_of(texts[prompt], longest[texts[prompt]])].append(prompt)
    return sets


def babble(seconds: Mapping[str, float], language: str) -> list[str]:
    """The prompts of a foreign language that are reserved for babble."""
    low, high = BABBLE_SECONDS
    fit = [prompt for prompt, length in seconds.items() if low <= length <= high]
    fit.sort(key=lambda prompt: fraction_of(f"babble {language} {prompt}"))
    return sorted(fit[:BABBLE_PER_LANGUAGE])


def subset(names: Iterable[str], share: float, at_least: int) -> list[str]:
    """A reproducible part of `names`, which grows with `share`."""
    ordered = sorted(names, key=lambda name: fraction_of(f"subset {name}"))
    count = min(len(ordered), max(at_least, round(share * len(ordered))))
    return sorted(ordered[:count])
