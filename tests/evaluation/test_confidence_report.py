"""The report on a scored set, its pictures, and training curves."""

import json
import math
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from helpers.forking import python
from helpers.tiny_pretraining import CONF

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.confidence.score_set import score_set
from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.evaluation.confidence_report import (
    format_report,
    language_auc,
    make_report,
)
from espnet_a2m.evaluation.plots import draw_curves, spans
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.evaluation.statistics import auc
from espnet_a2m.training.stats import read_stats

pytestmark = pytest.mark.espnet

GRID = FrameGrid(fs=16000, offset=480.0, stride=640)
PNG = b"\x89PNG"


class Loudness(Scorer):
    """Trusts what is loud."""

    grid = GRID

    def score(self, speech, speech_lengths, utt_ids=None):
        rms = speech.unfold(1, 960, GRID.stride).square().mean(-1).sqrt()
        return rms / (rms + 0.02), GRID.lengths(speech_lengths)


@pytest.fixture(scope="module")
def scored_dirs(short_utterances, tmp_path_factory):
    """24 real utterances; those of the first readers are called English."""
    root = tmp_path_factory.mktemp("scored")
    chosen = sorted(short_utterances[:24])
    samples = {utt: soundfile.info(path).frames for utt, path, _ in chosen}
    write_table(root / "data/wav.scp", {utt: path for utt, path, _ in chosen})
    write_table(root / "data/utt2num_samples", samples)
    languages = {utt: "en" if i < 12 else "fr" for i, utt in enumerate(samples)}
    write_table(root / "data/utt2lang", languages)
    half = {utt: "ab"[i % 2] for i, utt in enumerate(samples)}
    write_table(root / "data/utt2half", half)
    confidence = root / "confidence"
    score_set(root / "data", confidence, Loudness(), {})
    return root / "data", confidence


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 8, 40) / 7, rng.integers(0, 6, 30) / 7  # many ties
    pairs = np.sign(a[:, None] - b[None, :])
    assert auc(a, b) == pytest.approx((pairs.mean() + 1) / 2)
    assert auc([1.0], [0.0]) == 1.0 and auc([0.5], [0.5]) == 0.5
    assert math.isnan(auc([], [0.5]))


def test_language_auc_leaves_out_short_utterances():
    utts = {"a": (0.9, 2.0), "b": (0.1, 2.0), "c": (0.0, 0.5), "d": (0.5, 2.0)}
    language = {"a": "en", "b": "en", "c": "en", "d": "fr"}
    assert language_auc(utts, language, "en")["fr"] == {
        "auc": 0.5,
        "target": 2,
        "other": 1,
    }
    kept = {utt: score for utt, score in utts.items() if utt != "b"}
    assert language_auc(kept, language, "en")["fr"]["auc"] == 1.0
    assert language_auc({"d": utts["d"]}, language, "en") == {}


def test_spans():
    mask = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    assert spans(mask) == [(0, 2), (3, 4), (6, 7)]
    assert spans(np.zeros(3, dtype=bool)) == []


def test_report_on_real_speech(scored_dirs):
    scored = ScoredDataset.load(*scored_dirs)
    assert "scorer" not in make_report(scored, heldout=scored, cer_utts=0)[0]
    report, utts = make_report(scored, target_lang="en", heldout=scored)
    values = np.concatenate([scored.confidence(utt) for utt in scored.audio])
    frame = report["sets"]["all"]["frame"]
    assert frame["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert frame["p50"] == pytest.approx(np.percentile(values, 50), abs=0.01)
    counts = {name: s["utterances"] for name, s in report["sets"].items()}
    assert counts == {"all": 24, "en": 12, "fr": 12}
    of_language = {
        name: [utts[u][0] for u in utts if scored.language[u] == name]
        for name in ("en", "fr")
    }
    assert report["auc"]["fr"]["auc"] == pytest.approx(
        auc(of_language["en"], of_language["fr"])
    )
    # energy tells speech from silence: guided masks must see more of it
    masks = report["masks"]
    assert masks["guided"]["speech_share"] > masks["uniform"]["speech_share"]
    assert masks["guided"]["confidence"] > masks["uniform"]["confidence"]
    assert masks["start_divergence_nats"] > 0
    assert report["scorer"]["reason"].endswith("data has no text")
    lines = format_report(json.loads(json.dumps(report)))
    assert "AUC of en" in lines and "not measured, because" in lines


def test_command_line_writes_report_and_pictures(scored_dirs, tmp_path):
    data, confidence = scored_dirs
    command = python("-m", "espnet_a2m.bin.confidence_report")
    command += ["--data", str(data), "--confidence", str(confidence)]
    command += ["--outdir", str(tmp_path), "--utts", "2", "--target_lang", "en"]
    command += ["--exclude", str(data / "wav.scp"), "--mask_utts", "5"]
    command += ["--mask_prob", "0.65", "--mask_length", "5", "--group_by", "half"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = [line[7:] for line in done.stdout.splitlines() if line[:7] == "drawn: "]
    assert len(drawn) == 3
    assert sorted(drawn) == sorted(str(p) for p in tmp_path.glob("*.png"))
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(PNG)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    masks = report["masks"]
    assert (masks["mask_prob"], masks["mask_length"]) == (0.65, 5)
    assert report["excluded"] == 24 and report["auc_without_excluded"] == {}
    assert set(report["groups"]["half"]["groups"]) == {"a", "b"}
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "by half: 2 groups" in text
    assert text in done.stdout and "Masks at 65%, 5 utterances:" in text
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_report_of_a_run_and_its_scorer(data, confidence, tmp_path):
    """The masks of a configuration; ESPnet's model of one epoch."""
    outdir = tmp_path / "report"
    command = python("-m", "espnet_a2m.bin.confidence_report")
    command += ["--data", data, "--confidence", confidence, "--outdir", outdir]
    command += ["--heldout", data, confidence, "--cer_utts", "5", "--utts", "0"]
    command += ["--ssl_config", CONF / "tiny" / "ssl_w2vbert_conformer.yaml"]
    command += ["--ssl_args=--masking_conf guidance=low --max_epoch 2"]
    ctm = tmp_path / "words.ctm"
    ctm.write_text(
        "".join(f"{utt} 1 0.2 0.6 word\n" for utt in read_scp(data / "text"))
    )
    command += ["--ctm", ctm]
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((outdir / "report.json").read_text(encoding="utf-8"))
    assert found["masks"]["guidance"] == "low" and found["masks"]["guided"]["lift"] < 1
    assert found["scorer"]["utterances"] == 5
    assert 80 < found["scorer"]["cer"] <= 110  # it has learnt nothing yet
    (warning,) = [x for x in found["warnings"] if "the scorer is no good" in x]
    assert "train it longer" in warning and "--scorer_exp" in warning
    assert f"WARNING: {warning}\n" in done.stderr
    assert set(found["labels"]["labels"]) == {"(silence)", "word"}
    tokens = found["scorer"]["calibration"]
    assert sum(part["tokens"] for part in tokens["bins"]) == tokens["tokens"] > 10
    assert (outdir / "calibration.png").read_bytes().startswith(PNG)
    text = (outdir / "report.txt").read_text(encoding="utf-8")
    assert "Scorer's calibration" in text and "P(mask) by label" in text
    assert "(greedy CTC, 5 utterances): " in text and f"WARNING: {warning}" in text


def test_bad_input_is_named(scored_dirs, tmp_path):
    data, confidence = scored_dirs
    scored = ScoredDataset.load(data, confidence)
    with pytest.raises(DataError, match=r"utt2lang: .*--target_lang de; it has en, fr"):
        make_report(scored, target_lang="de")

    first = next(iter(scored.audio))
    scored.num_samples[first] += 16000
    with pytest.raises(DataError, match=rf"{first} has \d+ frames, but its \d+ samp"):
        make_report(scored)

    (tmp_path / "grid.json").write_text((confidence / "grid.json").read_text())
    rest = {utt: source for utt, source in scored.source.items() if utt != first}
    write_table(tmp_path / "confidence.scp", rest)
    with pytest.raises(DataError, match=rf"1 of 24 utterances .* missing: {first};"):
        ScoredDataset.load(data, tmp_path)


def test_curves_of_espnets_own_statistics(tmp_path):
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    for epoch in (1, 2, 3):
        reporter.set_epoch(epoch)
        for part in ("train", "valid"):
            with reporter.observe(part) as sub:
                sub.register(
                    {"loss": torch.tensor(3.0 / epoch), "acc": 0.1 * epoch},
                    torch.tensor(2.0),
                )
                sub.register({"grad_norm": 10.0})
                sub.next()
    checkpoint = tmp_path / "checkpoint.pth"
    states = {"model": {"w": torch.zeros(3)}, "reporter": reporter.state_dict()}
    torch.save(states, checkpoint)
    stats = read_stats(tmp_path)
    assert float(stats[3]["valid"]["loss"]) == pytest.approx(1.0)

    command = python("-m", "espnet_a2m.bin.plot_curves", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "images/curves.png"
    assert done.stdout == f"drawn: {picture}\n"
    assert picture.read_bytes().startswith(PNG)
    assert draw_curves(picture, {}, "nothing") is None

    # truncated by an interruption: the one before is read
    checkpoint.rename(tmp_path / "checkpoint.previous.pth")
    content = (tmp_path / "checkpoint.previous.pth").read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    assert sorted(read_stats(tmp_path)) == [1, 2, 3]
    (tmp_path / "checkpoint.previous.pth").unlink()
    with pytest.raises(UserError, match="incomplete"):
        read_stats(tmp_path)
    torch.save({"w": torch.zeros(3)}, checkpoint)
    with pytest.raises(UserError, match="not a checkpoint of ESPnet's trainer"):
        read_stats(tmp_path)
