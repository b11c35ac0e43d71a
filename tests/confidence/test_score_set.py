"""Scores do not depend on how audio is batched, nor on when they are computed."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from helpers.random_scorer import alone, batch_of, write_scorer

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet

ENCODERS = {
    "conformer": {"encoder": "conformer", "rel_pos_type": "latest"},
    "conformer_legacy": {"encoder": "conformer", "rel_pos_type": "legacy"},
    "transformer": {"encoder": "transformer"},
    "branchformer": {"encoder": "branchformer", "cgmlp_linear_units": 64},
    "e_branchformer": {"encoder": "e_branchformer", "cgmlp_linear_units": 64},
}
#: What else reads along time
VARIANTS = {
    "conv1d": {
        "encoder": "conformer",
        "rel_pos_type": "latest",
        "positionwise_layer_type": "conv1d",
    },
    "learned_ave": {
        "encoder": "branchformer",
        "cgmlp_linear_units": 64,
        "merge_method": "learned_ave",
    },
    "legacy_zero_triu": {
        "encoder": "conformer",
        "rel_pos_type": "legacy",
        "zero_triu": True,
    },
}


@pytest.fixture(autouse=True)
def one_thread():
    """Threads on models this small only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check_independence(scorer, audio):
    too_short = np.zeros(200, np.float32)
    speech = [*audio.values(), too_short]
    logits, lengths = scorer.logits(*batch_of(speech))
    log_probs = logits.log_softmax(-1)
    posteriors = log_probs.exp()
    assert lengths[-1] == 0
    spread = []
    for row, samples in enumerate(speech[:-1]):
        want = alone(scorer.model, samples)
        assert lengths[row] == len(want)
        got = posteriors[row, : len(want)]
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
        spread.append(want.amax(-1).mean())
    assert 0.2 < np.mean(spread) < 0.99


@pytest.mark.parametrize("input_layer", ["linear", "conv2d", "conv2d6", "conv2d8"])
@pytest.mark.parametrize("name", ENCODERS)
def test_batches_score_as_espnet_scores_each_alone(name, input_layer, audio, tmp_path):
    from espnet_a2m.confidence.espnet import ESPnetScorer

    model = write_scorer(tmp_path, input_layer=input_layer, **ENCODERS[name])
    scorer = ESPnetScorer(str(model))
    assert scorer.batches
    check_independence(scorer, audio)


@pytest.mark.parametrize("name", VARIANTS)
def test_batches_of_other_layers_along_time(name, audio, tmp_path):
    from espnet_a2m.confidence.espnet import ESPnetScorer

    scorer = ESPnetScorer(str(write_scorer(tmp_path, **VARIANTS[name])))
    assert scorer.batches
    check_independence(scorer, audio)


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"interctc_layer_idx": [1], "interctc_use_conditioning": True}, "interctc"),
        ({"frontend_conf": {"center": False}}, "center"),
    ],
)
def test_what_cannot_be_batched_is_scored_one_by_one(
    conf, reason, audio, tmp_path, caplog
):
    from espnet_a2m.confidence.espnet import ESPnetScorer

    scorer = ESPnetScorer(str(write_scorer(tmp_path, rel_pos_type="latest", **conf)))
    assert not scorer.batches
    assert reason in caplog.text and "one at a time" in caplog.text
    check_independence(scorer, audio)


# --- A set, and an update ------------------------------------------------------


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Path:
    return write_scorer(tmp_path_factory.mktemp("scorer"), rel_pos_type="latest")


@pytest.fixture(scope="module")
def data(tmp_path_factory, short_utterances) -> Path:
    """17 utterances, 1.7 s to 11.3 s, whose order is not that of the lengths."""
    directory = tmp_path_factory.mktemp("data")
    chosen = short_utterances[1::3]
    write_table(directory / "wav.scp", {u: path for u, path, _ in chosen})
    samples = {u: soundfile.info(path).frames for u, path, _ in chosen}
    write_table(directory / "utt2num_samples", samples)
    return directory


def score(scorer, data, output, *options) -> dict[str, np.ndarray]:
    from espnet_a2m.bin.score import main

    main(
        ["--asr_model_file", str(scorer), "--data", str(data)]
        + ["--output_dir", str(output), *options]
    )
    table = read_scp(output / "confidence.scp")
    return {utt: kaldiio.load_mat(source)[:, 0] for utt, source in table.items()}


MEASURE = {"measure": "entropy", "blank": "renormalise", "temperature": 1.5}


def test_dumped_batched_and_online_scores_are_equal(
    scorer, data, tmp_path, monkeypatch
):
    from espnet_a2m.confidence.online import OnlineScorer
    from espnet_a2m.data import shards

    monkeypatch.setattr(shards, "CHUNK_UTTERANCES", 9)
    options = [f"--{name}={value}" for name, value in MEASURE.items()]
    want = score(scorer, data, tmp_path / "single", *options)
    batched = score(
        scorer, data, tmp_path / "batched", *options, "--batch_seconds", "40"
    )
    audio = {
        utt: soundfile.read(path, dtype="float32")[0]
        for utt, path in read_scp(data / "wav.scp").items()
    }
    online = OnlineScorer(model_file=str(scorer), **MEASURE)
    confidence, lengths, s_u = online(*batch_of(list(audio.values())))
    assert confidence.dtype == torch.float32 and not confidence.requires_grad
    assert want.keys() == batched.keys() == audio.keys()
    assert max(len(c) for c in want.values()) > 4 * min(len(c) for c in want.values())
    tables = [read_scp(tmp_path / name / "utt2conf") for name in ("single", "batched")]
    exact = 0
    for row, utt in enumerate(want):
        stored = [float(table[utt]) for table in tables]
        assert stored == pytest.approx([float(s_u[row])] * 2, abs=1e-4)
        frames = online.grid.num_frames(len(audio[utt]))
        assert len(want[utt]) == len(batched[utt]) == lengths[row] == frames
        computed = confidence[row, :frames].numpy()
        np.testing.assert_allclose(computed, want[utt], atol=1.01 / 255)
        np.testing.assert_allclose(batched[utt], want[utt], atol=1.01 / 255)
        exact += (np.abs(computed - want[utt]) < 1e-6).mean()
        assert not confidence[row, frames:].any()
    assert exact / len(want) > 0.99  # the step shows only where rounding was close
    assert np.std(np.concatenate(list(want.values()))) > 0.02
    # and another measure is another score
    other = score(scorer, data, tmp_path / "single")
    assert all(np.abs(other[utt] - want[utt]).max() > 0.05 for utt in want)


def test_batches_hold_what_they_may(data, tmp_path):
    from espnet_a2m.confidence.interface import Scorer
    from espnet_a2m.confidence.score_set import score_set

    samples = {u: int(n) for u, n in read_scp(data / "utt2num_samples").items()}
    seen = []

    class Length(Scorer):
        grid = FrameGrid(16000, 480.0, 640)

        def score(self, speech, speech_lengths, utt_ids=None):
            seen.append(speech_lengths.tolist())
            assert seen[-1] == [samples[utt_id] for utt_id in utt_ids]
            frames = self.grid.lengths(speech_lengths)
            return (speech_lengths / 1e6)[:, None].repeat(1, int(frames.max())), frames

    score_set(data, tmp_path, Length(), {}, batch_seconds=30)
    assert all(max(b) * len(b) <= 30 * 16000 or len(b) == 1 for b in seen)
    flat = [n for batch in seen for n in batch]
    assert flat == sorted(samples.values()) and len(seen) < len(flat) / 2
    conf = read_scp(tmp_path / "utt2conf")
    assert {u: round(float(c) * 1e6) for u, c in conf.items()} == samples


def test_online_scorer_is_no_part_of_the_training_model(scorer, audio):
    from espnet_a2m.confidence.online import OnlineScorer

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    online = OnlineScorer(model_file=str(scorer))
    speech, lengths = batch_of(list(audio.values()))
    want = online(speech, lengths).confidence
    assert torch.equal(torch.random.get_rng_state(), before)

    model = torch.nn.Linear(2, 2)
    model.scorer = online
    assert len(model.state_dict()) == len(list(model.parameters())) == 2
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = online(speech, lengths).confidence
    assert torch.equal(got, want)
    assert torch.equal(got * 255, (got * 255).round())


def test_options_that_make_no_sense_are_refused(scorer, data, tmp_path, capsys):
    from espnet_a2m.confidence.online import OnlineScorer

    with pytest.raises(ValueError, match="renormalise"):
        OnlineScorer(model_file=str(scorer), measure="entropy", blank="exclude")
    with pytest.raises(UserError, match="no such file"):
        OnlineScorer(model_file=str(tmp_path / "absent.pth"))
    for options, message in (
        (["--measure", "entropy", "--blank", "exclude"], "renormalise"),
        (["--temperature", "0"], "above 0"),
    ):
        with pytest.raises(SystemExit) as error:
            score(scorer, data, tmp_path / "out", *options)
        assert error.value.code == 1 and message in capsys.readouterr().err


@pytest.mark.parametrize("name", ENCODERS)
def test_a_training_step_does_not_wait_for_the_scorer(name, tmp_path):
    """Tensors without values: asking for one, as .item() or tolist() do, raises."""
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        FakeTensorMode,
    )

    from espnet_a2m.confidence.online import OnlineScorer

    online = OnlineScorer(model_file=str(write_scorer(tmp_path, **ENCODERS[name])))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        speech = torch.zeros(3, 40000)
        lengths = mode.from_tensor(torch.tensor([40000, 30000, 20000]))
        with pytest.raises(DataDependentOutputException):
            lengths.tolist()
        confidence, frames, _ = online(speech, lengths)
    assert confidence.shape == (3, 62) and frames.shape == (3,)
