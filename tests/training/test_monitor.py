"""Collapse and divergence of real training runs are named, saved and stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from helpers.tiny_pretraining import ssl_options

from espnet_a2m.core.config import ConfigError
from espnet_a2m.data.tables import read_scp
from espnet_a2m.training.batches import SmallBatches
from espnet_a2m.training.monitor import MonitorOptions, find_collapse
from espnet_a2m.training.task import A2MTask
from espnet_a2m.training.validate_config import check_config

pytestmark = pytest.mark.espnet

UNIFORM = ["--masking_conf", "guidance=uniform"]


def train(data, exp: Path, *extra: str) -> None:
    from espnet_a2m.bin.ssl_train import main

    main(ssl_options(data, None, exp, *UNIFORM, "--max_epoch", "8", *extra))


def monitor_conf(**options: object) -> list[str]:
    return [word for k, v in options.items() for word in ("--monitor_conf", f"{k}={v}")]


def saved(exp: Path, data: Path) -> list[dict]:
    """What is in ``monitor``; each batch is of the data."""
    contents = [
        torch.load(p, weights_only=True) for p in sorted((exp / "monitor").iterdir())
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
        train(data, tmp_path, *diverges, *monitor_conf(max_nonfinite=3))
    said = capsys.readouterr().err + caplog.text
    assert (
        "ERROR" in said and "in 3 updates in a row" in said and "optim_conf.lr" in said
    )
    (content,) = saved(tmp_path, data)
    assert content["problem"] == "the loss is NaN or infinite"
    assert content["batches"][0]["utt_id"][0] in caplog.text


def test_collapse_is_named_saved_and_stopped(data, tmp_path, capsys, caplog):
    """A codebook of one entry is a collapse from the start."""
    limits = monitor_conf(start=1, window=2, max_collapsed=4, min_nats_gained="null")
    with pytest.raises(SystemExit):
        train(data, tmp_path, "--quantizer_conf", "codebook_size=1", *limits)
    said = capsys.readouterr().err
    assert "code_perplexity 1 is below 2" in said and "prob_perplexity" in said
    assert "4 times 2 updates" in said
    assert "monitor_conf: off: min_nats_gained" in caplog.text
    (content,) = saved(tmp_path, data)
    assert "code_perplexity 1 is below 2" in content["problem"]


def test_no_nats_gained_is_named_and_stopped(data, tmp_path, capsys, caplog):
    """Nothing gains 99 nats over a blind guess."""
    limits = monitor_conf(start=1, window=2, max_collapsed=2, min_nats_gained=99)
    with pytest.raises(SystemExit):
        train(data, tmp_path, *limits)
    assert "2 times 2 updates" in capsys.readouterr().err
    assert "predictions are no better than a blind guess" in caplog.text
    (content,) = saved(tmp_path, data)
    assert "nats_gained_masked_prediction" in content["problem"]


def test_infinite_gradient_is_named_and_stopped(
    data, tmp_path, capsys, caplog, monkeypatch
):
    """The loss is finite, as where float16 overflows."""
    from espnet_a2m.training.task import A2MTask

    build = A2MTask.build_model

    def build_model(args):
        model = build(args)
        weight = next(model.encoder.encoders.parameters())  # below, they are frozen
        weight.register_hook(lambda grad: grad * torch.inf)
        return model

    monkeypatch.setattr(A2MTask, "build_model", build_model)
    with pytest.raises(SystemExit):
        train(data, tmp_path, *monitor_conf(max_nonfinite=2))
    assert "in 2 updates in a row" in capsys.readouterr().err
    (content,) = saved(tmp_path, data)
    assert content["problem"] == "the gradient is not finite"
    assert "the gradient is not finite; utterances" in caplog.text


def test_healthy_training_is_left_alone(data, tmp_path, caplog):
    train(data, tmp_path, *monitor_conf(start=0, window=2, min_nats_gained=-99))
    assert "monitor:" not in caplog.text and not (tmp_path / "monitor").exists()
    assert (tmp_path / "8epoch.pth").exists()


def test_a_wrong_limit_is_refused_before_training(data, tmp_path, capsys):
    for option, message in (
        ("windwo=3", "did you mean 'window'"),
        ("window=0", "window=0"),
    ):
        with pytest.raises(SystemExit):
            train(data, tmp_path, "--monitor_conf", option)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "1epoch.pth").exists()


def test_old_name_of_the_options_works_and_warns(tmp_path, caplog):
    """It is read from a file, below the new name, and from the command line, above."""
    path = tmp_path / "ssl.yaml"

    def options(config: dict, *command_line: str) -> MonitorOptions:
        caplog.clear()
        path.write_text(yaml.safe_dump(config))
        check_config(path, "ssl")
        command = ["--config", str(path), "--output_dir", "unused", *command_line]
        args = A2MTask.get_parser().parse_args(command)
        return A2MTask.trainer.build_options(args).monitor

    for name in ("watch_conf", "monitor_conf"):
        config = {name: {"window": 7, "start": 3}}
        for more in ([], ["--monitor_conf", "window=8"], ["--watch_conf", "window=8"]):
            found = options(config, *more)
            assert (found.window, found.start) == (8 if more else 7, 3)
            warned = "watch_conf is now called monitor_conf" in caplog.text
            assert warned == ("watch_conf" in config or "--watch_conf" in more)
    both = options(
        {"watch_conf": {"window": 7, "start": 3}, "monitor_conf": {"start": 5}}
    )
    assert (both.window, both.start) == (7, 5)
    for name in ("watch_conf", "monitor_conf"):
        with pytest.raises(ConfigError, match=f"{name}: .*did you mean 'window'"):
            options({name: {"windwo": 3}})


def test_collapse_is_below_a_limit():
    options = MonitorOptions(min_nats_gained=0.01)
    healthy = {"code_perplexity": 20.0, "prob_perplexity": 30.0}
    healthy |= {"nats_gained_hubert": 0.3}
    assert find_collapse(healthy, options) == []
    for change in (
        {"code_perplexity": 1.5},
        {"prob_perplexity": 1.5},
        {"nats_gained_hubert": 0.005},
        {"nats_gained_contrastive": -0.1},
    ):
        (found,) = find_collapse({**healthy, **change}, options)
        assert next(iter(change)) in found
    assert find_collapse({"loss": 1.0}, options) == []


@pytest.mark.parametrize(("size", "warns"), [(1, True), (2, False)])
def test_batches_of_one_utterance_are_warned_of_once(size, warns, caplog):
    small = SmallBatches()
    for _ in range(2 * small.WATCHED):
        small(["utt"] * size, {})
    assert caplog.text.count("Most batches have one utterance") == int(warns)
