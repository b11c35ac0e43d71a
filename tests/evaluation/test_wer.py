"""Error rates: sclite and jiwer agree, whatever the transcripts contain."""

import json
import random
import string
import subprocess
import sys

import pytest

from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.evaluation.results import find_results, summary, write_results
from espnet_a2m.evaluation.wer import evaluate, find_sclite, read_pair, tokens

pytestmark = pytest.mark.unit

needs_sclite = pytest.mark.skipif(not find_sclite(), reason="sclite is not installed")


def write_text(path, texts):
    lines = (f"{utt} {texts[utt]}".rstrip() + "\n" for utt in sorted(texts))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def edit(text, rng, rate=0.15):
    """A recogniser's mistakes: words of ``text`` dropped, doubled and misspelt."""
    words = []
    for word in text.split():
        kind = rng.random()
        if kind < rate / 3:
            continue
        if kind < 2 * rate / 3:
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice("AEIOU'-") + word[at + 1 :]
        elif kind < rate:
            words.append(rng.choice(("THE", "A", "(OH)")))
        words.append(word)
    return " ".join(words)


@pytest.fixture(scope="module")
def transcripts(librispeech):
    """50 real transcripts, four times each, for other mistakes in each."""
    return {f"{u}-{i}": text for u, (_, text) in librispeech.items() for i in range(4)}


@needs_sclite
@pytest.mark.parametrize("unit", ["word", "char"])
def test_sclite_and_jiwer_agree_on_real_transcripts(tmp_path, transcripts, unit):
    # with 1 and 2, sclite has an error more in one utterance of 200: evaluation/wer.py
    rng = random.Random(3)
    hyps = {utt: edit(text, rng) for utt, text in transcripts.items()}
    hyps[min(hyps)] = ""
    ref = write_text(tmp_path / "ref", transcripts)
    hyp = write_text(tmp_path / "hyp", hyps)
    rows, saved = {}, {}
    for sctk in ("auto", "none"):
        rows[sctk] = evaluate(ref, hyp, tmp_path / sctk, unit, sctk)
        result = (tmp_path / sctk / "result.json").read_text(encoding="utf-8")
        saved[sctk] = json.loads(result)
        text = (tmp_path / sctk / "result.txt").read_text(encoding="utf-8")
        assert "Sum/Avg" in text
    assert saved["auto"]["wer_tool"].startswith("sclite")
    assert saved["none"]["wer_tool"].startswith("jiwer")
    assert 5 < rows["none"]["Err"] < 30
    for column in ("Snt", "Wrd", "Err", "S.Err"):
        assert rows["auto"][column] == rows["none"][column]
    assert saved["auto"]["utterances"] == saved["none"]["utterances"]


AWKWARD = [
    "DON'T SAY 'TIS \"SO\"",
    "(hello) world (a-b)",
    "a ( b ) c",
    "{ x / y } z {",
    ";; not a comment",
    "a;b ; c",
    "<unk> [noise] <space> @ #",
    "d* *d * \\ a\\b a/b",
    "%hes half- -half e.g. ...",
    "É ÜBER Straße ЧТО это",
    "日本 語",
    "naïve\u00a0café\u3000x\u2028y",
    "e\u0301te\u0301 \u200bx",
    "",
]


@needs_sclite
@pytest.mark.parametrize("unit", ["word", "char"])
def test_any_character_is_scored_as_it_stands(tmp_path, unit):
    """Every printable character, alone and in a word, against every other."""
    words = [
        f"{c}x x{c} {c} {c}{c} z"
        for c in string.printable + "é’я"
        if not c.isspace() and not c.isupper()
    ]
    refs = {f"s{i:03d}": text for i, text in enumerate(AWKWARD + words)}
    ref = write_text(tmp_path / "ref", refs)
    for sctk in ("auto", "none"):
        row = evaluate(ref, ref, tmp_path / sctk, unit, sctk)
        assert row["Err"] == 0
        assert row["Wrd"] == sum(len(tokens(t, unit)) for t in refs.values())

    moved = write_text(tmp_path / "moved", dict(zip(refs, [*words, *AWKWARD])))
    utterances = {}
    for sctk in ("auto", "none"):
        evaluate(ref, moved, tmp_path / sctk, unit, sctk)
        result = (tmp_path / sctk / "result.json").read_text(encoding="utf-8")
        utterances[sctk] = json.loads(result)["utterances"]
    assert utterances["auto"] == utterances["none"]


def test_tokens_fold_case_and_blanks_as_espnet_does():
    assert tokens(" THE  Cat ", "word") == ["the", "cat"]
    assert tokens(" A  bé ", "char") == ["a", "<space>", "b", "é"]
    assert tokens("", "char") == []


@pytest.mark.parametrize("sctk", ["auto", "none"])
def test_counts_by_hand(tmp_path, sctk):
    ref = write_text(tmp_path / "ref", {"a": "one two three four", "b": "five six"})
    hyp = write_text(tmp_path / "hyp", {"a": "one too three four oh", "b": ""})
    row = evaluate(ref, hyp, tmp_path, "word", sctk)
    assert row == pytest.approx(
        {
            "Snt": 2,
            "Wrd": 6,
            "Corr": 50.0,
            "Sub": 100 / 6,
            "Del": 200 / 6,
            "Ins": 100 / 6,
            "Err": 400 / 6,
            "S.Err": 100.0,
        }
    )
    assert "(b-b)" in (tmp_path / "hyp.trn").read_text(encoding="utf-8").splitlines()


def test_speakers_come_from_utt2spk(tmp_path):
    ref = write_text(tmp_path / "text", {"u(1)": "a b", "u2": "c"})
    write_text(tmp_path / "utt2spk", {"u(1)": "anna", "u2": "bob"})
    row = evaluate(ref, ref, tmp_path / "out", "word")
    assert row["Snt"] == 2 and row["Err"] == 0
    assert (tmp_path / "out/ref.trn").read_text(encoding="utf-8").splitlines() == [
        "a b (anna-u（1）)",
        "c (bob-u2)",
    ]


def test_missing_and_extra_hypotheses_are_named(tmp_path):
    ref = write_text(tmp_path / "ref", {"a": "x", "b": "y", "c": "z"})
    with pytest.raises(DataError, match=r"hyp: 1 of 3 utterances .*: b;"):
        read_pair(ref, write_text(tmp_path / "hyp", {"a": "x", "c": ""}))
    with pytest.raises(DataError, match=r"ref: 1 of 4 utterances .*: d;"):
        read_pair(ref, write_text(tmp_path / "hyp", dict.fromkeys("abcd", "x")))
    empty = write_text(tmp_path / "empty", {"a": ""})
    with pytest.raises(DataError, match="all transcripts are empty"):
        read_pair(empty, empty)


def test_results_of_two_experiments(tmp_path):
    ref = write_text(tmp_path / "ref", {f"u{i}": "one two" for i in range(20)})
    good = write_text(tmp_path / "good", {f"u{i}": "one two" for i in range(20)})
    bad = write_text(tmp_path / "bad", {f"u{i}": "one" for i in range(20)})
    for name, hyp in (("atm", good), ("scratch", bad)):
        for unit, folder in (("word", "score_wer"), ("char", "score_cer")):
            evaluate(ref, hyp, tmp_path / name / "decode/test" / folder, unit)
    experiments = [tmp_path / "atm", tmp_path / "scratch"]
    short = write_results(experiments, tmp_path / "RESULTS.md")
    assert "| scratch    | 50.0 [50.0, 50.0] |" in short
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert short in text
    assert "|decode/test|20|40|50.0|0.0|50.0|0.0|50.0|100.0|" in text

    # ESPnet's own folders hold result.txt alone
    score_dir = tmp_path / "scratch/decode/test/score_wer"
    (score_dir / "result.json").unlink()
    row = find_results(experiments[1:])[0].row
    assert row["Err"] == 50.0 and row["Snt"] == 20
    assert "50.0" in summary(find_results(experiments))
    with pytest.raises(UserError, match=r"nothing: no results"):
        find_results([tmp_path / "nothing"])


def test_command_line_prints_the_error_alone(tmp_path):
    ref = write_text(tmp_path / "ref", {"a": "x"})
    hyp = write_text(tmp_path / "hyp", {"b": "x"})
    command = [sys.executable, "-m", "espnet_a2m.bin.report", "score", "--unit", "word"]
    command += ["--ref", str(ref), "--hyp", str(hyp), "--outdir", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ERROR: {hyp}: 1 of 1 utterances")
    assert not (tmp_path / "o").exists()
