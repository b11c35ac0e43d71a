"""Estimates of a training run; what the planner refuses, and how it says so."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.planning import SECONDS, TINY, argparse_copy, lines, tiny_args, values
from kaldiio import WriteHelper

from espnet_a2m.bin.plan import get_parser, main
from espnet_a2m.core.errors import UserError
from espnet_a2m.data.archives import entry_bytes
from espnet_a2m.training.estimate import (
    GPUS,
    LABEL_MB,
    in_a_batch,
    load_args,
    number,
)
from espnet_a2m.training.step_count import count_step

pytestmark = pytest.mark.espnet


def test_estimates(tiny, count):
    base = values(tiny, count)
    # 400,000 samples are 3.1 utterances of 8 s, so the fourth is above; 4 epochs
    assert base["updates"] == pytest.approx(4 * 100 * 3600 / (4 * SECONDS))
    assert base["passes over the data"] == pytest.approx(4)
    total = base["updates"] * 4 * count.flops
    assert base["compute: training"] == pytest.approx(total / 1e18)
    # float32, as the configuration has no use_amp
    days = total / (2 * 19.5e12 * 0.2) / 86400
    assert base["time"] == pytest.approx(days)
    memory = [v for k, v in base.items() if k.startswith("memory: ")]
    assert sum(memory[:-1]) == pytest.approx(memory[-1])
    assert base["memory: activations"] == pytest.approx(2 * count.activations / 1e9)

    twice = values(tiny, count, ngpu=1)
    assert twice["time"] == pytest.approx(2 * base["time"])
    assert "memory: communication" not in twice
    better = values(tiny, count, utilisation=(0.4, 0.4))
    assert better["time"] == pytest.approx(base["time"] / 2)
    # of 4 utterances, the first of 3 GPUs has two, and the others wait for it
    assert values(tiny, count, ngpu=3)["time"] == pytest.approx(base["time"])
    uneven = values(tiny, count, ngpu=3)
    assert uneven["memory: activations"] == base["memory: activations"]
    half = values(tiny, count, updates=math.ceil(base["updates"] / 2))
    assert half["passes over the data"] == pytest.approx(2, rel=1e-3)
    more = values(tiny, count, hours=200.0)
    for name in ("frames of the encoder", "disk: audio", "disk: confidences", "time"):
        assert more[name] == pytest.approx(2 * base[name])
    # encoder's frames: 25 a second, less those that a crop's ends lose
    frames = base["frames of the encoder"] * 1e9
    assert frames == pytest.approx(100 * 3600 * 25, rel=0.01)


def test_batches_of_fixed_length_epochs(tiny, count):
    args = argparse_copy(tiny, num_iters_per_epoch=1000, accum_grad=2, max_epoch=3)
    fixed = values(args, count)
    assert fixed["updates an epoch"] == 500
    assert fixed["updates"] == 1500


def test_batches_are_as_many_as_espnet_makes(tmp_path):
    from espnet2.samplers.num_elements_batch_sampler import NumElementsBatchSampler

    for samples, bins, ngpu in (
        (512_000, 131_072_000, 1),  # 256 are not above it: 257
        (512_000, 131_000_000, 32),
        (512_000, 65_500_000, 16),
        (512_000, 45_000_000, 8),
        (196_800, 30_000_000, 8),
        (512_000, 400_000, 2),
    ):
        shapes = tmp_path / "shapes"
        shapes.write_text("".join(f"u{i:04} {samples}\n" for i in range(900)))
        sampler = NumElementsBatchSampler(bins, [str(shapes)], min_batch_size=ngpu)
        assert len(next(iter(sampler))) == in_a_batch(bins, samples, ngpu)


def test_time_is_a_range(tiny, count):
    assumed = lines(tiny, count, utilisation=(0.1, 0.3))
    one = values(tiny, count, utilisation=(0.3, 0.3))
    for name in ("time", "time: an update"):
        assert assumed[name].value == pytest.approx(one[name])
        assert assumed[name].most == pytest.approx(3 * one[name])
    name = "audio a second, each GPU"
    assert assumed[name].most == pytest.approx(one[name])
    assert assumed[name].value == pytest.approx(one[name] / 3)
    assert lines(tiny, count)["time"].most is None
    shown = dataclasses.replace(assumed["time"], value=0.2214, most=1234.0)
    assert " 0.22-1,200 days " in str(shown)
    assert number(0.00012345, 2) == "0.00012"
    assert number(1767.4, 3) == "1,767"
    assert number(12.34, 2) == "12"


def test_command(tiny, capsys):
    command = ["--config", tiny.config, "--hours", "100", "--ngpu", "2"]
    command += ["--seconds", str(SECONDS), "--utilisation", "0.2"]
    main([*command, "--longest", "20", "--json"])
    printed = {x["name"]: x["value"] for x in json.loads(capsys.readouterr().out)}
    count = count_step(tiny, SECONDS, tokens_per_second=4, longest=20)
    assert printed == pytest.approx(values(tiny, count))
    main(command)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(printed)
    assert any("counted for 32 s, times 1" in line for line in shown)
    help_text = " ".join(get_parser().format_help().split())
    assert f"{', '.join(GPUS)} or any other" in help_text


def test_memory_is_of_the_longest_utterance(tiny, count):
    longest = dataclasses.replace(count, longest=24.0)
    line = lines(tiny, longest, ngpu=1)["memory: activations"]
    # 400,000 samples: 4 of 8 s, but 2 of 24 s
    assert line.value == pytest.approx(2 * count.activations / 1e9)
    assert "counted for 24 s, times 2" in line.basis


def test_warm_up_is_said_to_be_over_or_not(tiny, count):
    name = "warm-up"
    assert lines(tiny, count)[name].value == 200
    assert "NOT OVER" not in lines(tiny, count)[name].basis
    short = lines(tiny, count, updates=150)[name].basis
    assert "NOT OVER at the end, 75% of the way" in short
    args = argparse_copy(tiny, warmup_steps=None)
    assert name not in values(args, count)


def test_values_that_are_espnets_are_said_to_be(tmp_path, tiny, count):
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    for name in ("batch_bins", "max_epoch", "accum_grad", "scheduler_conf"):
        del config[name]
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(config))
    said = {k: x.basis for k, x in lines(load_args(path, 30), count).items()}
    assert "batch_bins 1,000,000 (ESPnet's default)" in said["batch, all GPUs"]
    assert "max_epoch 40 (ESPnet's default)" in said["updates"]
    assert "accum_grad 1 (ESPnet's default)" in said["updates an epoch"]
    assert lines(load_args(path, 30), count)["warm-up"].value == 25000
    assert not any("default" in x.basis for x in lines(tiny, count).values())


def test_uncropped_pretraining_has_librispeechs_mean(tmp_path, tiny, capsys):
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    config["collate_fn_conf"] = {"crop_duration": None}
    path = tmp_path / "uncropped.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["--config", str(path), "--hours", "100"])
    shown = capsys.readouterr().out
    assert "counted on 12.3 s" in shown and "counted for 32 s" in shown


def test_a_batch_that_does_not_fit_is_said(tiny, count):
    name = "memory: sum, each GPU"
    assert "TOO MUCH" not in lines(tiny, count, gpu="v100")[name].basis
    big = dataclasses.replace(count, activations=10**11)
    assert "TOO MUCH" in lines(tiny, big, gpu="v100")[name].basis


def test_labels_only_where_they_are_predicted(tmp_path, tiny, count):
    args = tiny_args("ssl_hubert_conformer")
    with_labels = values(args, count_step(args, SECONDS, 4), hours=1000.0)
    assert "disk: labels" not in values(tiny, count)
    # an hour of labels, as the archives hold them
    with WriteHelper(f"ark:{tmp_path / 'labels.ark'}") as write:
        write("utt", np.zeros(100 * 3600, dtype=np.int32))
    entry = (tmp_path / "labels.ark").read_bytes().partition(b"utt ")[2]
    assert len(entry) == entry_bytes(entry)
    assert pytest.approx(len(entry), rel=1e-4) == LABEL_MB * 1e6
    assert with_labels["disk: labels"] == pytest.approx(1000 * LABEL_MB / 1e3)


def test_a_recogniser_has_no_confidences(tiny, count):
    args = tiny_args("asr_ctc_conformer")
    assert "disk: confidences" not in values(args, count_step(args, SECONDS, 4))
    assert "disk: confidences" in values(tiny, count)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hours", "0"], "--hours 0.0: must be above 0"),
        (["--hours", "nan"], "--hours nan: must be above 0"),
        (["--hours", "inf"], "--hours inf: must be above 0 and finite"),
        (["--gpu_memory", "inf"], "--gpu_memory inf: must be above 0 and finite"),
        (["--tflops", "nan", "1"], "--tflops nan: must be above 0"),
        (["--gpu", "none"], "--gpu none: known are v100"),
        (["--utilisation", "0.3", "0.1"], "--utilisation 0.3 0.1: .*or from, to"),
        (["--utilisation", ".1", ".2", ".3"], "--utilisation 0.1 0.2 0.3: one number"),
        (["--seconds", "inf"], "--seconds inf: must be at least 1 and finite"),
        (["--tokens_per_second", "inf"], "--tokens_per_second inf: must be above 0"),
        (["--seconds", "40", "--longest", "20"], "--longest 20: must be at least"),
        (["--ngpu", "0"], "--ngpu 0: must be above 0"),
        (["--utilisation", "1.5"], r"--utilisation 1.5: .* in \(0, 1\]"),
        (["--updates", "-1"], "--updates -1: must be above 0"),
        (["--seconds", "0.5"], "--seconds 0.5: must be at least 1"),
        (["--config", "none.yaml"], "none.yaml: no such configuration file"),
    ],
)
def test_mistakes_are_named(tiny, capsys, options, message):
    command = ["--config", str(tiny.config), "--hours", "100"]
    with pytest.raises(SystemExit, match="1"):
        main([*command, *options])
    error = capsys.readouterr().err
    assert error.startswith("ERROR: ")
    assert "Traceback" not in error
    assert re.search(message, error)


def test_other_batches_are_refused(tiny, count):
    args = argparse_copy(tiny, batch_type="length")
    with pytest.raises(UserError, match="batch_type: length: only numel"):
        values(args, count)


def test_front_ends_with_checkpoints_are_refused():
    path = TINY / "asr_ctc_espnet_ssl.yaml"
    with pytest.raises(UserError, match="frontend: espnet_ssl"):
        load_args(path, num_tokens=30)


@pytest.mark.parametrize(
    "change, message",
    [
        ("accum_grad: 0", "accum_grad: 0: must be at least 1"),
        ("batch_bins: 0", "batch_bins: 0: must be at least 1"),
        ("max_epoch: -1", "max_epoch: -1: must be at least 1"),
        (
            "encoder_conf: {output_size: 144, attention_heads: 5}",
            "AssertionError: assert n_feat % n_head == 0",
        ),
        ("collate_fn_conf: {crop_duration: -3}", "crop_duration: -3: must be at least"),
        ("collate_fn_conf: {crop_duration: .inf}", "crop_duration: inf: must be at le"),
        ("collate_fn_conf: {crop_duration: x}", "crop_duration: x: must be at least 1"),
        ("optim_conf: {lr: -1}", "Invalid learning rate"),
        ("loss: [{name: best_rq}]", "the model cannot be built and run: TypeError"),
        (
            None,
            "the model cannot be built and run: AssertionError: decoder should not be "
            "None when attention is used. Correct or complete its options",
        ),
    ],
)
def test_configurations_that_no_training_can_be_made_of(
    tmp_path, tiny, capsys, change, message
):
    config = {"encoder": "conformer"}  # of a recogniser, without its decoder
    if change is not None:
        config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
        config.update(yaml.safe_load(change))
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="1"):
        main(["--config", str(path), "--hours", "100"])
    error = capsys.readouterr().err
    assert error.startswith(f"ERROR: {path}: ") and error.count("\n") == 1
    assert message in error


def test_any_gpu_can_be_described(tiny, count):
    given = {"gpu": "l40s", "tflops": (362.0, 91.6), "gpu_memory": 48.0}
    ours = lines(tiny, count, **given)
    assert "of 48 GB" in ours["memory: sum, each GPU"].basis
    known = values(tiny, count)
    assert ours["time"].value == pytest.approx(known["time"] * 19.5 / 91.6)  # float32
    with pytest.raises(UserError, match="--gpu l40s: known are .*--tflops HALF SINGLE"):
        lines(tiny, count, gpu="l40s", tflops=(362.0, 91.6))
