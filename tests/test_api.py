"""The lines of docs/python.md, run as they are, on real speech."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.random_scorer import alone, small_wav2vec2, write_scorer

import espnet_a2m as a2m
from espnet_a2m.core.errors import UserError

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[1]
FIRST, LAYER, FOLDER, OTHERS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.S
)


@pytest.fixture(scope="module")
def here(tmp_path_factory, short_utterances) -> Path:
    """A folder as the page has it: a scorer, an encoder, recordings."""
    folder = tmp_path_factory.mktemp("api")
    for name in (
        "exp/scorer_ctc/valid.loss.ave.pth",
        "exp/ssl_atm/valid.nats_gained_hubert.best.pth",
    ):
        path = folder / name
        path.parent.mkdir(parents=True)
        write_scorer(path.parent).rename(path)
    (folder / "my recordings/b").mkdir(parents=True)
    for number, (_, path, _) in enumerate(short_utterances[:3]):
        shutil.copy(path, folder / f"my recordings/b/{number}.flac")
    speech, fs = soundfile.read(short_utterances[3][1])
    soundfile.write(folder / "talk.wav", np.stack([speech, speech], axis=1), fs)
    return folder


def run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **known: Any) -> dict:
    """Run lines of the page in a folder; returns what they have defined."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"a2m": a2m, **known}
    exec(code, names)
    return names


def test_confidences_and_masks(here, monkeypatch, capsys):
    names = run(FIRST, here, monkeypatch)
    confidence, masks = names["confidence"], names["masks"]
    assert confidence.speech.dtype == np.float32
    posteriors = alone(names["scorer"].model, confidence.speech)
    assert len(posteriors) == len(confidence.frames) == len(confidence.times)
    expected = posteriors[:, 1:].amax(1)
    torch.testing.assert_close(confidence.frames, expected, atol=1e-3, rtol=0)
    s_u = float(posteriors.amax(1).mean())
    assert confidence.utterance == pytest.approx(s_u, abs=1e-3)
    step = confidence.times.diff()
    torch.testing.assert_close(step, torch.full_like(step, 0.04))
    count = round(0.4 * masks.size(1))
    assert masks.shape == (100, len(expected))
    assert set(masks.sum(1).tolist()) <= {count, count + 1, count - 1}
    assert (here / "talk.png").read_bytes().startswith(b"\x89PNG")
    assert "0.03 s: " in capsys.readouterr().out


def test_guidance_moves_masks_to_confident_frames(here):
    torch.manual_seed(0)
    scorer = a2m.load_scorer(here / "exp/scorer_ctc/valid.loss.ave.pth")
    confidence = a2m.score(scorer, here / "talk.wav")
    least, *_, most = confidence.frames.argsort().tensor_split(4)
    lift = {}
    for guidance in ("high", "uniform", "low"):
        masks = a2m.draw_masks(confidence, 500, guidance=guidance).float().mean(0)
        lift[guidance] = float(masks[most].mean() / masks[least].mean())
    assert lift["high"] > 1.2 > lift["uniform"] > 0.8 > lift["low"]
    # an annealed option has its last value, as in the report
    masks = a2m.draw_masks(confidence, 500, anneal={"mask_prob": [0.9, 0.2, 10]})
    assert float(masks.float().mean()) == pytest.approx(0.2, abs=0.02)
    with pytest.raises(UserError, match="a mask of shape .500, .* for .* frames"):
        a2m.plot(confidence, masks, here / "no.png")
    other = dataclasses.replace(confidence.grid, fs=8000)
    with pytest.raises(UserError, match="a grid of 8000 Hz for confidences of 16000"):
        a2m.draw_masks(confidence, grid=other)
    with pytest.raises(UserError, match="mask_probability"):
        a2m.draw_masks(confidence, mask_probability=0.5)


def test_features_of_a_layer(here, monkeypatch):
    names = run(LAYER.replace("layer=3", "layer=2"), here, monkeypatch)
    encoder, features = names["encoder"], names["features"]
    speech = torch.from_numpy(soundfile.read(here / "talk.wav")[0][:, 0]).float()
    with torch.no_grad():
        model = encoder._layers.model
        expected, _ = model.encode(speech[None], torch.tensor([len(speech)]))
    torch.testing.assert_close(features.frames, expected[0], atol=1e-4, rtol=1e-4)
    assert len(features.times) == len(features.frames)
    probe = torch.nn.Linear(features.frames.size(1), 2)
    probe(features.frames).sum().backward()
    with pytest.raises(UserError, match="no layer 3"):
        encoder.features(here / "talk.wav", layer=3)


def test_a_folder(here, monkeypatch, capsys):
    run(FOLDER, here, monkeypatch, scorer=a2m.load_scorer("energy"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [
        f"my recordings/b/{number}.flac" for number in range(3)
    ]
    assert all(0 < float(line.rpartition(" ")[2]) < 1 for line in lines)


def test_masks_for_transformers(here, monkeypatch):
    import transformers

    torch.manual_seed(0)
    config = small_wav2vec2().config
    config.update({"proj_codevector_dim": 16, "codevector_dim": 16})
    transformers.Wav2Vec2ForPreTraining(config).save_pretrained(here / "model")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(here / "model")
    paths = sorted((here / "my recordings").rglob("*.flac"))
    scorer = a2m.load_scorer("energy")
    known = {"name": str(here / "model"), "paths": paths, "scorer": scorer}
    names = run(OTHERS, here, monkeypatch, **known)
    assert torch.isfinite(names["loss"])
    with pytest.raises(UserError, match="whisper: where its frames are is not known"):
        a2m.mask_time_indices(names["confidences"], transformers.WhisperConfig())
    model, mask, batch = (names[name] for name in ("model", "mask", "batch"))
    lengths = [len(c.speech) for c in names["confidences"]]
    frames = model._get_feat_extract_output_lengths(torch.tensor(lengths))
    assert mask.shape == (3, int(frames.max()))
    assert batch.input_values.size(1) == max(lengths)
    for row, num_frames in zip(mask, frames.tolist()):
        assert not row[num_frames:].any()
        assert int(row.sum()) == pytest.approx(0.4 * num_frames, abs=1)


def test_the_picture_of_the_readme(here):
    """The example draws one like it, of any recording."""
    script, out = ROOT / "examples/draw_masks.py", here / "masks.png"
    command = [sys.executable, script, "energy", here / "talk.wav", out]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert out.read_bytes().startswith(b"\x89PNG")


def test_audio_of_any_kind(here, short_utterances, tmp_path):
    scorer = a2m.load_scorer("energy")
    path = short_utterances[5][1]
    speech, fs = soundfile.read(path, dtype="float32")
    expected = a2m.score(scorer, path)
    tensor = torch.from_numpy(speech).requires_grad_()
    for same in (speech, tensor, (speech * 32768).astype(np.int16)):
        assert torch.equal(a2m.score(scorer, same).frames, expected.frames)
    slower = a2m.score(scorer, speech[::2], fs=fs // 2)
    assert len(slower.frames) == len(expected.frames)
    for audio, problem in (
        ((speech * 32768).astype(np.int32), "samples of int32: expected floats"),
        (speech * np.nan, "samples are NaN, infinite, or not scaled"),
        (speech * 32768, "samples are NaN, infinite, or not scaled"),
        (speech[None], "expected .N,. samples"),
        (speech[:100], "too short for the scorer"),
        (tmp_path / "no.wav", "no.wav: cannot be opened"),
    ):
        with pytest.raises(UserError, match=problem):
            a2m.score(scorer, audio)


def test_importing_is_cheap_and_names_are_complete():
    code = (
        "import sys, espnet_a2m as a2m\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(a2m.__all__) <= set(dir(a2m))\n"
        "for name in a2m.__all__: getattr(a2m, name)\n"
        "assert 'espnet2' not in sys.modules\n"
        "a2m.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'espnet_a2m' has no attribute 'nothing'" in (
        done.stderr
    )
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    used = {"Confidence", "Features"}  # what functions return
    assert all(f"a2m.{name}(" in page for name in {*a2m.__all__} - used)
