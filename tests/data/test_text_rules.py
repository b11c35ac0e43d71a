"""Transcripts of the corpora, word for word as their documentation has them."""

from __future__ import annotations

import doctest

import pytest

from espnet_a2m.data.corpora import (
    fisher,
    switchboard,
    tedlium,
    wsj,
)
from espnet_a2m.data.formatting import spelling as text

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("module", [text, tedlium, switchboard, fisher, wsj])
def test_documented_examples(module):
    assert doctest.testmod(module) == (0, 1)


@pytest.mark.parametrize(
    ("said", "spelled"),
    {
        "the dogs' tails": "THE DOGS' TAILS",
        "'cause we were goin' home": "'CAUSE WE WERE GOIN' HOME",
        "'TIS MY BROTHERS' HOUSE": "'TIS MY BROTHERS' HOUSE",
        "the students ' work": "THE STUDENTS WORK",
        "‘I don’t know,’ he said": "I DON'T KNOW HE SAID",
        "rock 'n' roll": "ROCK 'N' ROLL",
        "Wait—what?!": "WAIT WHAT",
        "T.V.": "T V",
        "...": "",
        "well [noise] [inaudible 0:01:02.03] yes": "WELL YES",
        "Chapter 4": None,
        "R&B": None,
        "café": None,
    }.items(),
)
def test_one_spelling(said, spelled):
    assert text.common(said) == spelled
    if spelled is not None:  # what is in the common form stays as it is
        assert text.common(spelled) == spelled


@pytest.mark.parametrize(
    ("said", "spelled"),
    {
        "He's one of 'the boys'.": "HE'S ONE OF THE BOYS",
        "the dogs' tails": "THE DOGS' TAILS",
        "‘I don’t know,’ he said": "I DON'T KNOW HE SAID",
        "'IT ISN'T'": "IT ISN'T",
    }.items(),
)
def test_quotations_of_common_voice(said, spelled):
    assert text.common(said, quotes=True) == spelled


@pytest.mark.parametrize(
    ("said", "spelled"),
    {
        "a café, Chapter 4": "A CAFÉ CHAPTER 4",
        "R&B's": "R&B'S",
        "l'été' s": "L'ÉTÉ' S",
        "[laughs]  [noise]": "[laughs] [noise]",
        "Well - yes [noise]": "WELL YES",
    }.items(),
)
def test_test_sets_lose_nothing(said, spelled):
    form = text.CommonForm(keep_all=True)
    assert form(said) == spelled
    assert form("", said) == " ".join(said.split())
    assert form.left_out == form.wordless == []


@pytest.mark.parametrize(
    ("said", "spelled"),
    {  # the examples in Kaldi's swbd1_map_words.pl
        "[LAUGHTER-STORY]": "STORY",
        "[IT'N/ISN'T]": "IT'N",
        "[LEM[GUINI]-/LINGUINI]": "LEM",
        "-[AN]Y": "Y",
        "AB[SOLUTE]-": "AB",
        "EX[SPECIALLY]-/ESPECIALLY]": "EX",
        "{YUPPIEDOM}": "YUPPIEDOM",
        "AMMU[N]IT-": "AMMUIT",
        "THEM_1's": "THEM's",
        "[NOISE] [VOCALIZED-NOISE] <B_ASIDE> HI <E_ASIDE>": "HI",
    }.items(),
)
def test_switchboard_words(said, spelled):
    assert switchboard.spell(said) == spelled


@pytest.mark.parametrize(
    ("said", "spelled"),
    {  # what Kaldi's normalize_transcript.pl and fisher_data_prep.sh say of them
        (
            wsj,
            r"computers I\. B\. M\. introduced [door_slam]",
        ): "COMPUTERS I B M INTRODUCED",
        (wsj, "a [<door_slam] b [door_slam>] [phone_ring/] c [/phone_ring]"): "A B C",
        (wsj, "<and> ten %PERCENT .POINT ~ ."): "AND TEN PERCENT POINT",
        (wsj, "one ,COMMA two --DASH"): "ONE COMMA TWO DASH",
        (fisher, "(( i think )) so"): "",
        (fisher, "uh-huh [breath] l._d._c."): "UH HUH L D C",
        (wsj, "'SINGLE-QUOTE 'em 'SINGLE-CLOSE-QUOTE"): "SINGLE QUOTE 'EM "
        "SINGLE CLOSE QUOTE",
        (wsj, "`SINGLE-QUOTE it's"): "SINGLE QUOTE IT'S",
        (wsj, "<'em> rock 'n' roll"): "'EM ROCK 'N' ROLL",
        (tedlium, "' cause they 're at ted <unk>"): "'CAUSE THEY'RE AT TED",
        (tedlium, "it 's the students ' work"): "IT'S THE STUDENTS' WORK",
        (tedlium, "the students' work"): "THE STUDENTS' WORK",
        (tedlium, "<unk> 's idea {NOISE} i 'd 've"): "IDEA I'D'VE",
    }.items(),
)
def test_rules_of_other_corpora(said, spelled):
    module, words = said
    assert text.common(module.spell(words)) == spelled
