"""What the masks of a run hold on real speech, and what the report says of it."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.scored_speech import GRID, scored_speech

from espnet_a2m.core.config import ConfigError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.evaluation.guidance_report import (
    format_masks,
    mask_report,
    mask_warnings,
)
from espnet_a2m.evaluation.mask_sample import (
    sample_masks,
    speech_frames,
    start_divergence,
)
from espnet_a2m.evaluation.run_masking import RunMasking
from espnet_a2m.evaluation.scored_set import ScoredDataset

pytestmark = pytest.mark.espnet

CONF = Path(__file__).resolve().parents[2] / "conf" / "tiny"


@pytest.fixture(scope="module")
def scored(short_utterances, tmp_path_factory) -> ScoredDataset:
    """50 utterances of 22 readers, scored by their loudness."""
    return scored_speech(tmp_path_factory.mktemp("scored"), short_utterances)


def report(scored, draws=100, **conf):
    run = RunMasking(conf, GRID, GRID)
    return mask_report(sample_masks(scored, list(scored.audio), run, draws))


# --- Guidance -------------------------------------------------------------------


def test_default_guidance_guides_and_its_controls_do_not(scored):
    high = report(scored)
    low, shuffled = (report(scored, guidance=name) for name in ("low", "shuffled"))
    assert high["guided"]["lift"] >= 1.5
    assert low["guided"]["lift"] <= 1 / 1.5
    # three standard deviations, .017 over 20 seeds
    assert shuffled["guided"]["lift"] == pytest.approx(1.0, abs=0.05)
    uniform = high["uniform"]
    assert uniform["lift"] == pytest.approx(1.0, abs=0.05)
    assert high["guided"]["speech_share"] > uniform["speech_share"] + 0.03
    assert low["guided"]["speech_share"] < uniform["speech_share"] - 0.03
    share = shuffled["guided"]["speech_share"]
    assert share == pytest.approx(uniform["speech_share"], abs=0.01)
    for masks in (high, low, shuffled):
        assert masks["guided"]["starved"] < 0.03
        # exactly 40 % of every utterance's frames, rounded
        covered = masks["uniform"]["masked_fraction"]
        assert masks["guided"]["masked_fraction"] == covered
        assert covered == pytest.approx(0.4, abs=0.002)
        assert mask_warnings(masks) == []
    assert high["auc_speech"] > 0.99  # loudness is what it is compared with
    # ranks: the divergence does not depend on the confidences
    assert high["start_divergence_nats"] == pytest.approx(
        1 - math.log(2) - 0.114, abs=0.01
    )


def test_the_lift_of_shuffled_is_that_of_uniform_masks_within_its_error(scored):
    """The mean over ten seeds is 1 by what the seeds differ."""
    run = RunMasking({"guidance": "shuffled"}, GRID, GRID)
    utts = list(scored.audio)[::5]
    samples = (sample_masks(scored, utts, run, 20, seed) for seed in range(10))
    seeds = [mask_report(sample) for sample in samples]
    for kind in ("guided", "uniform"):
        lifts = [masks[kind]["lift"] for masks in seeds]
        error = np.std(lifts, ddof=1) / math.sqrt(len(lifts))
        assert abs(np.mean(lifts) - 1) < max(4 * error, 1e-3) and error < 0.02


def test_ties_are_worth_their_mean(scored):
    """With no confidence at all, no frame is surer than another."""
    silent = copy.copy(scored)
    silent.confidence = lambda utt: np.zeros_like(scored.confidence(utt))
    masks = report(silent, 5)
    assert masks["guided"]["lift"] == pytest.approx(1.0)
    assert masks["start_divergence_nats"] == pytest.approx(0.0, abs=1e-9)
    assert "practically uniform (lift 1.00)" in mask_warnings(masks)[0]


def test_warnings_name_the_fix(scored):
    """A scorer that is surest of silence, as CTC is of the blank."""
    inverted = copy.copy(scored)
    inverted.confidence = lambda utt: 1 - scored.confidence(utt)
    masks = report(inverted, 20)
    assert masks["auc_speech"] < 0.01
    (warning,) = mask_warnings(masks)
    assert "less speech than uniform ones" in warning and "--blank exclude" in warning
    # at fairseq's edges, a scorer that is surest of both ends is not followed
    ends = copy.copy(scored)

    def at_the_ends(utt):
        centre = np.linspace(-1, 1, len(scored.confidence(utt)))
        return np.square(centre) * 0.1 + 0.5

    ends.confidence = at_the_ends
    inside = {"span_edges": "inside", "span_confidence": "first"}
    masks = report(ends, 20, **inside, rank_confidence=False)
    assert masks["guided"]["lift"] < 0.9
    warning = mask_warnings(masks)[0]
    assert "unsure of" in warning and "rank_confidence=true" in warning
    assert "span_edges=overhang" in warning


@pytest.mark.parametrize("guidance", ["uniform", "mixed", "top_k"])
def test_every_guidance_is_reported(scored, guidance):
    run = RunMasking({"guidance": guidance, "mask_length": 5}, GRID, GRID)
    masks = mask_report(sample_masks(scored, list(scored.audio)[:10], run, draws=10))
    assert (masks["start_divergence_nats"] is None) == (guidance == "top_k")
    assert mask_warnings(masks) == []
    text = "\n".join(format_masks(json.loads(json.dumps(masks))))
    assert f"guidance {guidance}, spans of 5 frames" in text


def test_start_divergence():
    assert start_divergence(torch.full((50,), 0.02)) == pytest.approx(0.0, abs=1e-6)
    assert start_divergence(torch.eye(64)[3]) == pytest.approx(math.log(64))
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert start_divergence(torch.tensor([0.25, 0.75])) == pytest.approx(expected)


def test_speech_frames_find_speech_between_silences(short_utterances):
    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    silence = np.zeros(16000, dtype=np.float32)
    padded = np.concatenate([silence, speech, silence])
    found = speech_frames(padded, GRID, GRID.num_frames(len(padded)))
    centre = GRID.offset + GRID.stride * np.arange(len(found))
    inside = (centre > 16000) & (centre < 16000 + len(speech))
    assert not found[~inside].any()
    assert found[inside].mean() > 0.4


# --- The run's configuration ----------------------------------------------------


def test_masks_are_those_of_the_configuration_and_its_options(scored, tmp_path):
    config = CONF / "ssl_wav2vec2_cnn_transformer.yaml"
    options = ["--masking_conf", "guidance=low", "--masking_conf", "power=2"]
    options += ["--collate_fn_conf", "crop_duration=2", "--max_epoch", "3"]
    options += ["--model_conf", "utterance_weight=relative"]
    options += ["--model_conf", "utterance_weight_fraction=0.1"]
    run = RunMasking.load(config, options, {"mask_prob": 0.3}, GRID)
    assert (run.guided.guidance, run.crop) == ("low", 32000)
    assert (run.weight.kind, run.weight.fraction) == ("relative", 0.1)
    assert run.weight.frames == "all"
    assert run.encoder_grid.stride == 320  # of its convolutions, not the scorer's
    utt = list(scored.audio)[0]
    speech, s_t = run.read(scored, utt)
    assert len(speech) == 32000 and len(s_t) == run.encoder_grid.num_frames(32000)
    # between the scorer's frames that are nearest
    grid, known = run.encoder_grid, scored.confidence(utt)
    position = (grid.offset + grid.stride * np.arange(len(s_t)) - 480) / 640
    want = np.interp(position, np.arange(len(known)), known)
    np.testing.assert_allclose(s_t.numpy(), want, atol=1e-5)
    masks = run.draw(run.guided, s_t, 4)
    assert masks.shape == (4, len(s_t)) and masks[0].ne(masks[1]).any()
    assert masks.sum(1).tolist() == [round(0.3 * len(s_t))] * 4

    # an annealed option has its last value
    anneal = {"anneal": {"mask_prob": [0.1, 0.5, 1000]}}
    run = RunMasking(anneal, GRID, GRID)
    assert mask_report(sample_masks(scored, [utt], run, 2))["mask_prob"] == 0.5


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"guidanc": "low"}, "did you mean 'guidance'"),
        ({"guidance": "hihg"}, "choose one of"),
        ({"mask_prob": 2.0}, "mask_prob=2.0 is not"),
    ],
)
def test_mistakes_are_explained(conf, message):
    with pytest.raises(ConfigError, match=message):
        RunMasking(conf, GRID, GRID)
    with pytest.raises(ConfigError, match="8000 Hz"):
        RunMasking({}, FrameGrid(8000, 0.0, 320), GRID)
