"""Collapse and divergence of real trainings are named, saved and stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_pretraining import ssl_options

from espnet_a2m.data.tables import read_scp
from espnet_a2m.training.monitor import WatchOptions, collapses

UNIFORM = ["--masking_conf", "guidance=uniform"]


def train(data, exp: Path, *extra: str) -> None:
    from espnet_a2m.bin.ssl_train import main

    main(ssl_options(data, None, exp, *UNIFORM, "--max_epoch", "8", *extra))


def watch_conf(**options: object) -> list[str]:
    return [word for k, v in options.items() for word in ("--watch_conf", f"{k}={v}")]


def saved(exp: Path, data: Path) -> list[dict]:
    """What is in ``watch``; each batch is of the data."""
    contents = [
        torch.load(p, weights_only=True) for p in sorted((exp / "watch").iterdir())
    ]
    audio = read_scp(data / "wav.scp")
    for content in contents:
        for batch in content["batches"]:
            assert batch["utt_id"] and set(batch["utt_id"]) <= set(audio)
            assert len(batch["speech"]) == len(batch["utt_id"])
    return contents


def test_nan_is_named_saved_and_stopped(data, tmp_path, capsys, caplog):
    diverges = ["--optim_conf", "lr=1.0e+30", "--scheduler", "none"]
    with pytest.raises(SystemExit):
        train(data, tmp_path, *diverges, *watch_conf(max_nonfinite=3))
    said = capsys.readouterr().err + caplog.text
    assert (
        "ERROR" in said and "in 3 updates in a row" in said and "optim_conf.lr" in said
    )
    (content,) = saved(tmp_path, data)
    assert content["problem"] == "the loss is NaN or infinite"
    assert content["batches"][0]["utt_id"][0] in caplog.text


def test_collapse_is_named_saved_and_stopped(data, tmp_path, capsys, caplog):
    """A codebook of one entry is a collapse from the start."""
    limits = watch_conf(start=1, window=2, max_collapsed=4, min_acc_gain="null")
    with pytest.raises(SystemExit):
        train(data, tmp_path, "--quantizer_conf", "codebook_size=1", *limits)
    said = capsys.readouterr().err
    assert "code_perplexity 1 is below 2" in said and "prob_perplexity" in said
    assert "4 times 2 updates" in said
    assert "watch_conf: off: min_acc_gain" in caplog.text
    (content,) = saved(tmp_path, data)
    assert "code_perplexity 1 is below 2" in content["problem"]


def test_accuracy_at_chance_is_named_and_stopped(data, tmp_path, capsys, caplog):
    """No accuracy is two above a blind guess's."""
    limits = watch_conf(start=1, window=2, max_collapsed=2, min_acc_gain=2)
    with pytest.raises(SystemExit):
        train(data, tmp_path, *limits)
    assert "2 times 2 updates" in capsys.readouterr().err
    assert "is no better than a blind guess's" in caplog.text
    (content,) = saved(tmp_path, data)
    assert "acc_masked_prediction" in content["problem"]


def test_infinite_gradient_is_named_and_stopped(
    data, tmp_path, capsys, caplog, monkeypatch
):
    """Of a finite loss, as float16 overflows."""
    from espnet_a2m.training.task import A2MTask

    build = A2MTask.build_model

    def build_model(args):
        model = build(args)
        weight = next(model.encoder.encoders.parameters())  # below, they are frozen
        weight.register_hook(lambda grad: grad * torch.inf)
        return model

    monkeypatch.setattr(A2MTask, "build_model", build_model)
    with pytest.raises(SystemExit):
        train(data, tmp_path, *watch_conf(max_nonfinite=2))
    assert "in 2 updates in a row" in capsys.readouterr().err
    (content,) = saved(tmp_path, data)
    assert content["problem"] == "the gradient is not finite"
    assert "the gradient is not finite; utterances" in caplog.text


def test_healthy_training_is_left_alone(data, tmp_path, caplog):
    train(data, tmp_path, *watch_conf(start=0, window=2, min_acc_gain=-1))
    assert "watch:" not in caplog.text and not (tmp_path / "watch").exists()
    assert (tmp_path / "8epoch.pth").exists()


def test_a_wrong_limit_is_refused_before_training(data, tmp_path, capsys):
    for option, message in (
        ("windwo=3", "did you mean 'window'"),
        ("window=0", "window=0"),
    ):
        with pytest.raises(SystemExit):
            train(data, tmp_path, "--watch_conf", option)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "1epoch.pth").exists()


def test_collapse_is_below_a_limit():
    options = WatchOptions(min_acc_gain=0.01)
    healthy = {"code_perplexity": 20.0, "prob_perplexity": 30.0}
    healthy |= {"acc_hubert": 0.3, "majority_hubert": 0.1}
    assert collapses(healthy, options) == []
    for change in (
        {"code_perplexity": 1.5},
        {"prob_perplexity": 1.5},
        {"acc_hubert": 0.105},
        {"acc_contrastive": 0.01, "chance_contrastive": 0.01},
    ):
        (found,) = collapses({**healthy, **change}, options)
        assert next(iter(change)) in found
    assert collapses({"loss": 1.0}, options) == []
