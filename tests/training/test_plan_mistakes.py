"""What the planner refuses, and how it says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers.planning import TINY, argparse_copy, figures, lines

from espnet_a2m.bin.plan import main
from espnet_a2m.core.errors import UserError
from espnet_a2m.training.plan_config import load_args

pytestmark = pytest.mark.espnet


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hours", "0"], "--hours 0.0: must be above 0"),
        (["--hours", "nan"], "--hours nan: must be above 0"),
        (["--hours", "inf"], "--hours inf: must be above 0 and finite"),
        (["--gpu_memory", "inf"], "--gpu_memory inf: must be above 0 and finite"),
        (["--tflops", "nan", "1"], "--tflops nan: must be above 0"),
        (["--gpu", "none"], "--gpu none: known are v100"),
        (["--utilisation", "0.3", "0.1"], "--utilisation 0.3 0.1: from, to"),
        (["--utilisation", ".1", ".2", ".3"], "--utilisation: one number, or two"),
        (["--seconds", "inf"], "--seconds inf: must be at least 1 and finite"),
        (["--tokens_per_second", "inf"], "--tokens_per_second inf: must be at least 0"),
        (["--seconds", "40", "--longest", "20"], "--longest 20: must be at least"),
        (["--scorer_config", "none.yaml"], "none.yaml: no such configuration file"),
        (["--ngpu", "0"], "--ngpu 0: must be above 0"),
        (["--utilisation", "1.5"], r"--utilisation 1.5: must be in \(0, 1\]"),
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
        figures(args, count)


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
        ("encoder_conf: {output_size: 145, attention_heads: 4}", "145 is no multiple"),
        ("collate_fn_conf: {crop_duration: -3}", "crop_duration: -3: must be seconds"),
        ("collate_fn_conf: {crop_duration: .inf}", "crop_duration: inf: must be sec"),
        ("optim_conf: {lr: -1}", "adam: optim_conf: Invalid learning rate"),
        ("loss: [{name: best_rq}]", "the model cannot be built: TypeError"),
        (
            None,
            "the model cannot be built: AssertionError: decoder should not be None "
            "when attention is used. Correct or complete its options",
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
    known = figures(tiny, count)
    assert ours["time"].value == pytest.approx(known["time"] * 19.5 / 91.6)  # float32
    with pytest.raises(UserError, match="--gpu l40s: known are .*--tflops HALF SINGLE"):
        lines(tiny, count, gpu="l40s", tflops=(362.0, 91.6))
