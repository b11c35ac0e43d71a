"""Checkpoints of other releases, types and architectures as scorers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import make_dir
from helpers.random_scorer import alone, small_wav2vec2, write_scorer

from espnet_a2m.confidence.espnet import ESPnetScorer
from espnet_a2m.core.errors import UserError

pytestmark = pytest.mark.espnet

STREAMING = {"block_size": 40, "hop_size": 16, "look_ahead": 16}
RNN = {"num_layers": 2, "hidden_size": 16, "output_size": 32}
ENCODERS = {
    "contextual_block_conformer": {**STREAMING, "output_size": 32, "num_blocks": 1},
    "contextual_block_transformer": {**STREAMING, "output_size": 32, "num_blocks": 1},
    "rnn": RNN,  # skips every second frame after each of its layers
    "vgg_rnn": RNN,
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_that_could_not_be_pre_trained_score(encoder, audio, tmp_path):
    model_file = write_scorer(
        tmp_path, encoder, encoder_conf=ENCODERS[encoder], normalize_conf={}
    )
    scorer = ESPnetScorer(str(model_file), blank="include")
    assert not scorer.batches
    stride = 160 * (1 if scorer.grid.stride == 160 else 4)
    assert scorer.grid.stride == stride
    for speech in audio.values():
        one = torch.from_numpy(speech)[None]
        got = scorer.score(one, torch.tensor([one.size(1)])).confidence[0]
        want = alone(scorer.model, speech).amax(-1)
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
        assert abs(len(got) - scorer.grid.num_frames(len(speech))) <= 1


def test_the_frames_are_where_the_audio_is(tmp_path, audio):
    """A click in silence changes the frames around its place."""
    for encoder in ("rnn", "vgg_rnn"):
        scorer = ESPnetScorer(
            str(
                write_scorer(
                    tmp_path, encoder, encoder_conf={**RNN, "bidirectional": False}
                )
            )
        )
        quiet = torch.full((1, 48000), 1e-3) * torch.randn(48000)
        loud = quiet.clone()
        loud[:, 24000:24200] += 0.5
        with torch.no_grad():
            one, other = (
                scorer.logits(x, torch.tensor([48000]))[0][0] for x in (quiet, loud)
            )
        moved = (one - other).abs().amax(-1)
        place = (24100 - scorer.grid.offset) / scorer.grid.stride
        assert abs(int(moved.argmax()) - place) <= 3


@pytest.mark.parametrize("option", ["ctc_conf", "init", "input_size", "specaug"])
def test_options_that_came_later_have_their_defaults(option, tmp_path, audio):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    want = ESPnetScorer(str(model_file))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del config[option]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    got = ESPnetScorer(str(model_file))
    for key, values in want.model.state_dict().items():
        assert torch.equal(got.model.state_dict()[key], values)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("encoder_conf", {"attention_qk_norm": False}, "attention_qk_norm"),
        ("model_conf", {"sym_na": "<na>"}, "sym_na"),
        ("frontend_conf", {"removed": 1}, "removed"),
        ("token_list", None, "token_list"),
    ],
)
def test_options_that_are_gone_are_named(option, value, message, tmp_path):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    if value is None:
        del config[option]
    else:
        config[option].update(value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=rf"config.yaml: .*{message}.* another release"):
        ESPnetScorer(str(model_file))


def test_an_utterance_that_would_fill_the_memory_is_named_first(
    tmp_path, short_utterances, capsys
):
    from espnet_a2m.bin.score import main

    (one, path, _), (two, _, _) = short_utterances[:2]
    lengths = {one: 40000, two: 3600 * 16000}
    data = make_dir(tmp_path / "data", {one: path, two: path}, utt2num_samples=lengths)
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    with pytest.raises(SystemExit):
        main(
            ["--asr_model_file", str(model_file), "--data", str(data)]
            + ["--output_dir", str(tmp_path / "out")]
        )
    shown = capsys.readouterr().err
    assert "1 utterances are too long for the scorer" in shown
    assert f"{two} (3600 s: " in shown and "`segments`" in shown


def test_hugging_face_checkpoints_as_they_are_on_the_hub(tmp_path, audio):
    transformers = pytest.importorskip("transformers")
    from espnet_a2m.confidence.huggingface import HuggingFaceScorer

    model = small_wav2vec2()

    def scores(name: str, **changed) -> np.ndarray:
        folder = tmp_path / name
        model.save_pretrained(folder, **changed)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
        scorer = HuggingFaceScorer(str(folder))
        again = HuggingFaceScorer(str(folder))
        assert scorer.description == again.description
        speech = torch.from_numpy(next(iter(audio.values())))[None]
        return scorer.score(speech, torch.tensor([speech.size(1)])).confidence.numpy()

    want = scores("complete")
    # only the masks of training use this vector, and many files do not have it
    state = model.state_dict()
    del state["wav2vec2.masked_spec_embed"]
    np.testing.assert_array_equal(scores("no_vector", state_dict=state), want)
    for dtype in (torch.float16, torch.bfloat16):
        model = model.to(dtype)
        half = scores(str(dtype).replace("torch.", ""))
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, want, atol=0.02)
