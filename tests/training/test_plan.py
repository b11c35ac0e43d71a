"""What the planner counts, beside formulas by hand and what a real step takes."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from helpers.planning import (
    SECONDS,
    argparse_copy,
    conformer_flops,
    figures,
    lines,
    tiny_args,
)
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.bin.plan import main
from espnet_a2m.training.plan import number, plan
from espnet_a2m.training.plan_config import load_args
from espnet_a2m.training.plan_resources import (
    Resources,
    default_longest,
    default_seconds,
    in_a_batch,
)
from espnet_a2m.training.saved_memory import nbytes, saved_bytes
from espnet_a2m.training.step_count import build, count_saved, count_step, run_ssl

pytestmark = pytest.mark.espnet


def test_operations_are_those_of_a_conformer():
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    width, units, kernel, layers, frames = 64, 256, 15, 3, 150
    encoder = ConformerEncoder(
        input_size=80,
        output_size=width,
        attention_heads=4,
        linear_units=units,
        num_blocks=layers,
        input_layer="linear",
        rel_pos_type="latest",
        pos_enc_layer_type="rel_pos",
        selfattention_layer_type="rel_selfattn",
        macaron_style=True,
        cnn_module_kernel=kernel,
    )
    with FlopCounterMode(display=False) as flops:
        encoder(torch.randn(1, frames, 80), torch.tensor([frames]))
    by_hand = layers * conformer_flops(frames, width, units, kernel)
    by_hand += 2 * frames * 80 * width
    assert flops.get_total_flops() == pytest.approx(by_hand, rel=1e-6)


def test_step_is_that_of_the_configuration(tiny, count):
    """The encoder of a step by hand: conv2d is not trained in this configuration."""
    conf = tiny.encoder_conf
    width, layers = conf["output_size"], conf["num_blocks"]
    assert count.feats == int(SECONDS * 100) + 1  # 10 ms, centred
    assert (
        count.frames == ((count.feats - 1) // 2 - 1) // 2
    )  # two unpadded convolutions
    layer = conformer_flops(
        count.frames, width, conf["linear_units"], conf["cnn_module_kernel"]
    )
    first = (count.feats - 1) // 2 * 39 * width * 9
    second = count.frames * 19 * width * width * 9
    embed = 2 * (first + second + count.frames * 19 * width * width)
    # forwards, and twice as much backwards through what is trained
    by_hand = embed + 3 * layers * layer
    assert by_hand == pytest.approx(count.flops, rel=0.03)  # the rest: mel, losses
    assert by_hand < count.flops


def test_sizes_are_those_of_the_real_model(tiny, count):
    model = build(tiny)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert count.parameters == sum(p.numel() for p in model.parameters())
    assert count.trained == sum(p.numel() for p in trained) < count.parameters
    assert count.model == nbytes(model.state_dict().values())
    run_ssl(model, count.samples, 0).backward()
    assert count.gradients == nbytes(p.grad for p in trained)
    optimizer = torch.optim.Adam(trained, lr=0.001)
    optimizer.step()
    states = optimizer.state_dict()["state"].values()
    assert count.optimizer == sum(nbytes(state.values()) for state in states)
    # two moments in float32, a step count per parameter
    assert count.optimizer == 2 * 4 * count.trained + 4 * len(trained)


class HeapInUse(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")
        + ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def heap_in_use() -> int:
    """Bytes that this process has of malloc."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = HeapInUse
    info = mallinfo()
    return info.uordblks + info.hblkhd


def test_activations_are_what_lives_after_a_forward_pass(tiny):
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("the C library cannot say how much memory is in use")
    samples = int(SECONDS * 16000)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(tiny)
        counted, copies = saved_bytes(model, lambda: run_ssl(model, samples, 0))
    assert copies == 0  # no mixed precision
    model = build(tiny)
    run_ssl(model, samples, 0).backward()  # what is made once: positions, buffers
    model.zero_grad()
    for module in model.modules():  # ESPnet keeps it until the next step
        if hasattr(module, "attn"):
            module.attn = None
    gc.collect()
    before = heap_in_use()
    loss = run_ssl(model, samples, 0)
    alive = heap_in_use() - before
    del loss
    assert counted == pytest.approx(alive, rel=0.03)


def test_mixed_precision_keeps_less(tiny, count):
    half = argparse_copy(tiny, use_amp=True)
    amp = count_step(half, SECONDS, tokens_per_second=4)
    assert 0.5 * count.activations < amp.activations < 0.8 * count.activations
    assert count.weight_copies == 0
    # two bytes for a weight of a product or a convolution, most of all but the losses
    assert 1.6 * count.trained < amp.weight_copies <= 2 * count.parameters
    assert amp.flops == count.flops


def test_plan(tiny, count):
    base = figures(tiny, count)
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

    twice = figures(tiny, count, ngpu=1)
    assert twice["time"] == pytest.approx(2 * base["time"])
    assert "memory: communication" not in twice
    better = figures(tiny, count, utilisation=(0.4, 0.4))
    assert better["time"] == pytest.approx(base["time"] / 2)
    # of 4 utterances, the first of 3 GPUs has two, and the others wait for it
    assert figures(tiny, count, ngpu=3)["time"] == pytest.approx(base["time"])
    uneven = figures(tiny, count, ngpu=3)
    assert uneven["memory: activations"] == base["memory: activations"]
    half = figures(tiny, count, updates=math.ceil(base["updates"] / 2))
    assert half["passes over the data"] == pytest.approx(2, rel=1e-3)
    more = figures(tiny, count, hours=200.0)
    for name in ("frames of the encoder", "disk: audio", "disk: confidences", "time"):
        assert more[name] == pytest.approx(2 * base[name])
    # encoder's frames: 25 a second, less those that a crop's ends lose
    frames = base["frames of the encoder"] * 1e9
    assert frames == pytest.approx(100 * 3600 * 25, rel=0.01)


def test_batches_of_fixed_length_epochs(tiny, count):
    args = argparse_copy(tiny, num_iters_per_epoch=1000, accum_grad=2, max_epoch=3)
    plan_of = figures(args, count)
    assert plan_of["updates an epoch"] == 500
    assert plan_of["updates"] == 1500


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
    one = figures(tiny, count, utilisation=(0.3, 0.3))
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
    main([*command, "--scorer_config", "", "--longest", "20", "--json"])
    printed = {x["name"]: x["value"] for x in json.loads(capsys.readouterr().out)}
    count = count_step(tiny, SECONDS, tokens_per_second=4, longest=20)
    assert printed == pytest.approx(figures(tiny, count))
    main(command)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(printed) + 1  # scoring
    assert any("counted for 32 s, times 1" in line for line in shown)
    assert default_seconds(tiny) == 32.0


def test_longest_utterance_decides_the_memory():
    """A transducer keeps a joint network of frames x tokens: it is not linear."""
    args = tiny_args("asr_transducer_conformer")
    count = count_step(args, 4.0, tokens_per_second=4, longest=24.0)
    assert count.longest_samples == 6 * count.samples
    assert count.longest_activations > 8 * count.activations
    resources = Resources(hours=100.0, gpu="a100", ngpu=1)
    line = {x.name: x for x in plan(args, count, 4.0, resources)}["memory: activations"]
    # 400,000 samples: 7 of 4 s or 2 of 24 s
    assert line.value == pytest.approx(2 * count.longest_activations / 1e9)
    assert "counted for 24 s, times 2" in line.basis
    assert "more than a batch of 4 s" in line.basis
    even = dataclasses.replace(count, longest_activations=2 * count.activations)
    line = {x.name: x for x in plan(args, even, 4.0, resources)}["memory: activations"]
    assert line.value == pytest.approx(7 * count.activations / 1e9)


def test_half_precision_weights_do_not_grow_with_the_utterance():
    """An LSTM casts its weights at every step here; a GPU keeps them once."""
    args = argparse_copy(tiny_args("asr_transducer_conformer"), use_amp=True)
    short, long = (count_saved(args, seconds, 4.0)[1] for seconds in (3.0, 9.0))
    assert short == long
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert short <= 2 * sum(p.numel() for p in build(args).parameters())


def test_warm_up_is_said_to_be_over_or_not(tiny, count):
    name = "warm-up"
    assert lines(tiny, count)[name].value == 200
    assert "NOT OVER" not in lines(tiny, count)[name].basis
    short = lines(tiny, count, updates=150)[name].basis
    assert "NOT OVER at the end, 75% of the way" in short
    args = argparse_copy(tiny, warmup_steps=None)
    assert name not in figures(args, count)


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


def test_uncropped_pretraining_is_planned_with_librispeechs_mean(tiny):
    args = argparse_copy(tiny, collate_fn_conf={"crop_duration": None})
    assert default_seconds(args) == 12.3
    assert default_longest(args) == default_longest(tiny) == 32.0


def test_a_batch_that_does_not_fit_is_said(tiny, count):
    big = dataclasses.replace(count, activations=10**11)
    big = dataclasses.replace(big, longest_activations=10**11)
    resources = Resources(hours=100.0, gpu="v100", ngpu=2)
    basis = {x.name: x.basis for x in plan(tiny, big, SECONDS, resources)}
    assert "TOO MUCH" in basis["memory: sum, each GPU"]
    assert (
        "TOO MUCH"
        not in {x.name: x.basis for x in plan(tiny, count, SECONDS, resources)}[
            "memory: sum, each GPU"
        ]
    )


def test_yaml_is_what_is_planned(tmp_path, tiny):
    """A change of the configuration changes the count."""
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    config["encoder_conf"]["num_blocks"] = 8
    path = tmp_path / "deep.yaml"
    path.write_text(yaml.safe_dump(config))
    with FakeTensorMode(allow_non_fake_inputs=True):
        shallow, deep = build(tiny), build(load_args(path, 30))
        per_layer = sum(p.numel() for p in shallow.encoder.encoders[0].parameters())
        grown = sum(p.numel() for p in deep.parameters())
        assert grown - sum(p.numel() for p in shallow.parameters()) == 4 * per_layer
