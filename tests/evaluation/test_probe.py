"""Probes: what they read off layers, of trained and random models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from helpers.commands import make_dir
from helpers.random_scorer import write_scorer

from espnet_a2m.bin.probe import main
from espnet_a2m.core.errors import DataError
from espnet_a2m.data.tables import read_scp
from espnet_a2m.evaluation.probe import probe_layers, read_transcripts, train_probe
from espnet_a2m.labels.layer import LayerFeatures

pytestmark = pytest.mark.espnet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An ASR model of two layers with parameters that no seed of 0 to 9 gives."""
    return write_scorer(tmp_path_factory.mktemp("asr"))


def test_several_layers_at_once_are_each_layer(model, short_utterances):
    speech, _ = soundfile.read(short_utterances[3][1], dtype="float32")
    layers = [LayerFeatures(model, layer)(speech) for layer in (2, 1)]
    together = LayerFeatures(model, 1).of_layers(speech, [2, 1])
    torch.testing.assert_close(together, torch.cat(layers, dim=1), rtol=0, atol=0)
    assert LayerFeatures(model, 1).of_layers(speech[:10], [1, 2]).shape == (0, 64)


def test_a_random_model_has_the_parameters_of_its_seed(model):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (
        LayerFeatures(model, 1, random_seed=seed).model.state_dict()
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.rand(3), expected)  # the caller's numbers are as without
    trained = torch.load(model)
    name = "encoder.encoders.0.feed_forward.w_1.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], trained[name])


@pytest.mark.parametrize("noise, low, high", [(0.1, 0, 0.02), (1000, 0.7, 1)])
def test_a_probe_reads_what_a_linear_layer_can(noise, low, high):
    """Characters are frames of a code, which noise hides; silence is between them."""
    rng = torch.Generator().manual_seed(0)
    codes = torch.randn(6, 20, generator=rng)  # of the blank and five characters

    def make(count):
        targets, frames = [], []
        for _ in range(count):
            target = torch.randint(1, 6, (8,), generator=rng)
            path = torch.stack([target, target, torch.zeros(8, dtype=int)], 1).flatten()
            hidden = torch.randn(len(path), 20, generator=rng)
            frames.append(codes[path] + noise * hidden)
            targets.append(target)
        return frames, targets

    probe, loss = train_probe(*make(60), 6, updates=150, seed=0, title="")
    assert np.isfinite(loss)
    frames, targets = make(20)
    wrong = total = 0
    for x, target in zip(frames, targets):
        best = torch.unique_consecutive(probe(x).argmax(-1))
        heard = best[best > 0]
        total += 8
        wrong += 8 if len(heard) != 8 else int((heard != target).sum())
    assert low <= wrong / total <= high


def test_layers_of_real_speech(model, data, tmp_path, capsys):
    output = tmp_path / "out" / "probe.json"
    command = ["--model_file", str(model), "--train", str(data), "--test", str(data)]
    command += ["--updates", "30", "--max_utterances", "8", "--output", str(output)]
    main(command)
    found = json.loads(output.read_text())
    assert [row["layer"] for row in found["layers"]] == [1, 2]
    assert found["train"]["utterances"] == found["test"]["utterances"] == 8
    for row in found["layers"]:  # trained on them: even random features spell them
        assert 0 < row["cer"] < 80 and row["seconds"] > 0
        assert (
            f"layer {row['layer']}: CER {row['cer']:.1f} %" in capsys.readouterr().out
        )
        break
    options = {"layers": [1], "updates": 30, "max_utterances": 8}
    again = probe_layers(model, data, data, **options)
    assert again["layers"][0]["cer"] == found["layers"][0]["cer"]
    random = probe_layers(model, data, data, **options, random_init=True)
    assert random["random_init"]
    assert random["layers"][0]["loss"] != found["layers"][0]["loss"]


def test_faults(model, data, tmp_path, capsys):
    command = ["--model_file", str(model), "--train", str(data), "--test", str(data)]
    with pytest.raises(SystemExit):
        main([*command, "--layers", "2", "5", "--output", str(tmp_path / "o.json")])
    assert "there is no layer 5; choose --layer from 1 to 2" in capsys.readouterr().err
    audio = read_scp(data / "wav.scp")
    utt = min(audio)
    cut = make_dir(tmp_path / "cut", {"rec": audio[utt]}, text={utt: "A"})
    (cut / "segments").write_text(f"{utt} rec 0 1\n")
    (cut / "utt2spk").write_text(f"{utt} {utt}\n")
    (cut / "spk2utt").unlink(missing_ok=True)
    with pytest.raises(DataError, match="has segments; format it first"):
        read_transcripts(cut, 9)
