"""What the planner counts, beside formulas by hand and what a real step takes."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.bin.plan import main
from espnet_a2m.errors import UserError
from espnet_a2m.plan import Resources, default_seconds, plan
from espnet_a2m.step_count import (
    build,
    count_step,
    load_args,
    nbytes,
    run_ssl,
    saved_bytes,
)

SECONDS = 8.0


@pytest.fixture(scope="module")
def tiny(request):
    """Options of the tiny w2v-BERT."""
    path = request.config.rootpath / "conf" / "tiny" / "ssl_w2vbert_conformer.yaml"
    return load_args(path, num_tokens=30)


@pytest.fixture(scope="module")
def count(tiny):
    """A step of it."""
    return count_step(tiny, SECONDS, tokens_per_second=4)


def conformer_flops(frames: int, width: int, units: int, kernel: int) -> int:
    """Forward pass of a conformer layer, from its definition."""
    linear = frames * width * (4 * units + 4 * width + 3 * width)  # FFs, q k v o, conv
    positions = (2 * frames - 1) * width * width  # relative positions are projected
    # q k, q positions, attention x v
    attention = frames * width * (frames + (2 * frames - 1) + frames)
    return 2 * (linear + positions + attention + frames * width * kernel)


def test_operations_are_those_of_a_conformer(request):
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


def argparse_copy(args, **changes):
    """Options with some changed."""
    return type(args)(**{**vars(args), **changes})


def figures(tiny, count, **given):
    """Name -> value of a plan."""
    resources = Resources(**{"hours": 100.0, "gpu": "a100", "ngpu": 2, **given})
    return {x.name: x.value for x in plan(tiny, count, SECONDS, resources)}


def test_plan(tiny, count):
    base = figures(tiny, count)
    # 400,000 samples are 3 utterances of 8 s; 4 epochs
    assert base["updates"] == pytest.approx(4 * 100 * 3600 / (3 * SECONDS))
    assert base["passes over the data"] == pytest.approx(4)
    total = base["updates"] * 3 * count.flops
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
    better = figures(tiny, count, utilisation=0.4)
    assert better["time"] == pytest.approx(base["time"] / 2)
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


def test_command(tiny, count, capsys):
    command = ["--config", tiny.config, "--hours", "100", "--ngpu", "2", "--json"]
    main([*command, "--seconds", str(SECONDS)])
    printed = {x["name"]: x["value"] for x in json.loads(capsys.readouterr().out)}
    assert printed == pytest.approx(figures(tiny, count))
    main([*command[:-1], "--seconds", str(SECONDS)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(printed)
    assert any("an assumption" in line for line in lines)
    assert default_seconds(tiny) == 32.0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hours", "0"], "--hours 0.0: must be above 0"),
        (["--hours", "nan"], "--hours nan: must be above 0"),
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


def test_front_ends_with_checkpoints_are_refused(request):
    path = request.config.rootpath / "conf" / "tiny" / "asr_ctc_espnet_ssl.yaml"
    with pytest.raises(UserError, match="frontend: espnet_ssl"):
        load_args(path, num_tokens=30)


def test_a_batch_that_does_not_fit_is_said(tiny, count):
    big = dataclasses.replace(count, activations=10**11)
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
