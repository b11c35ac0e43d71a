"""CTM as NIST, Kaldi, NeMo and text editors write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_a2m.confidence.ctm import CTMScorer, read_ctm
from espnet_a2m.core.errors import DataError

pytestmark = pytest.mark.unit

A, C = "u0 1 0.10 0.40 a 0.9\n", "u0 1 0.50 0.40 c 0.8\n"
OTHER = "u1 1 0.10 1.80 b 0.6\n"
VARIANTS = {
    "plain": A + C + OTHER,
    "byte order mark": "\ufeff" + A + C + OTHER,
    "mark and comment": "\ufeff;; a comment\n" + A + C + OTHER,
    "Windows": (A + C + OTHER).replace("\n", "\r\n"),
    "tabs": (A + C + OTHER).replace(" ", "\t"),
    "alternatives": "u0 1 * * <ALT_BEGIN>\n" + A + "u0 1 * * <ALT>\n"
    "u0 1 0.10 0.40 e 0.1\nu0 1 * * <ALT_END>\n" + C + OTHER,
    "eight columns": (A + C + OTHER).replace("\n", " lex s1\n"),
    "a noise": "u0 1 0.00 0.99 [noise] 1.0 noise s1\n" + A + C + OTHER,
    "silence": "u0 1 0.00 0.10 <eps> 1.00\n" + A + C + "u0 1 0.9 0.1 SIL 1\n" + OTHER,
    "after the end": A + C + "u0 1 1.02 0.00 you 0.2\n" + OTHER,
    "no duration": A + "u0 1 0.50 0.00 you 0.2\n" + C + OTHER,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_mean_the_same(name, tmp_path: Path):
    path = tmp_path / "a.ctm"
    path.write_text(VARIANTS[name], encoding="utf-8", newline="")
    scorer = CTMScorer(str(path))
    # (0.4 s * 0.9 + 0.4 s * 0.8) / 1 s, and 1.8 s * 0.6 / 2 s
    assert scorer.of_utterance("u0", 16000).mean() == pytest.approx(0.68)
    assert scorer.of_utterance("u1", 32000).mean() == pytest.approx(0.54)


def test_a_channel_is_named(tmp_path):
    path = tmp_path / "a.ctm"
    two = "u0 A 0.10 0.40 a 0.9\nu0 A 0.50 0.40 c 0.8\nu0 B 0.10 0.80 z 0.1\n"
    path.write_text(two)
    with pytest.raises(DataError, match=r"a\.ctm:3: u0 has the channels A and B"):
        read_ctm(path)
    values = CTMScorer(str(path), channel="A").of_utterance("u0", 16000)
    assert values.mean() == pytest.approx(0.68)
    with pytest.raises(DataError, match="no words of channel C"):
        read_ctm(path, "C")
    path.write_text(two.replace("A", "1").replace("B", "2"))
    values = CTMScorer(str(path), channel=1).of_utterance(
        "u0", 16000
    )  # as YAML reads it
    assert values.mean() == pytest.approx(0.68)


def test_rounding_is_allowed_and_all_faults_are_told(tmp_path):
    path = tmp_path / "a.ctm"
    path.write_text("u 1 0 1 a 1.0000001\nu 1 1 1 b -1e-7\n")
    assert [word.confidence for word in read_ctm(path)["u"]] == [1.0, 0.0]
    path.write_text("u 1 0 1 a NA lex NA\nu 1 0 1 b 2\nu\n" + 12 * "u 1 0 1\n")
    with pytest.raises(DataError) as error:
        read_ctm(path)
    for part in ("a.ctm:1: no confidence", "a.ctm:2: confidence 2.0", "and 5 more"):
        assert part in str(error.value)
    path.write_text("u 1 * * <ALT_BEGIN>\nu 1 0 1 a 1\nu 1 * * <ALT>\nu 1 0 1 b 1\n")
    with pytest.raises(DataError, match="a.ctm:1: <ALT_BEGIN> without <ALT_END>"):
        read_ctm(path)


def test_times_of_the_recording_are_refused(tmp_path):
    path = tmp_path / "a.ctm"
    path.write_text("u 1 61.5 1 a 0.5\n")
    with pytest.raises(DataError, match=r"'a' starts at 61\.5 s.* within the utter"):
        CTMScorer(str(path)).of_utterance("u", 16000)
