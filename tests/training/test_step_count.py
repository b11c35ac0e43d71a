"""What is counted of a step, beside formulas by hand and what a real step takes."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import pytest
import torch
import yaml
from helpers.planning import SECONDS, TINY, argparse_copy, conformer_flops, tiny_args
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.training.estimate import load_args
from espnet_a2m.training.step_count import (
    build,
    count_step,
    nbytes,
    record_lengths,
    run_step,
    saved_bytes,
)

pytestmark = pytest.mark.espnet


def test_flops_are_those_of_a_conformer():
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


def embed_flops(feats: int, frames: int, width: int) -> int:
    """Forward pass of ESPnet's ``conv2d``: two convolutions and a product."""
    first = (feats - 1) // 2 * 39 * width * 9
    second = frames * 19 * width * width * 9
    return 2 * (first + second + frames * 19 * width * width)


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
    # forwards, and twice as much backwards through what is trained
    by_hand = embed_flops(count.feats, count.frames, width) + 3 * layers * layer
    assert by_hand == pytest.approx(count.flops, rel=0.03)  # the rest: mel, losses
    assert by_hand < count.flops


def test_forward_pass_of_a_recogniser_by_hand():
    """It is also the scorer's: encoder and CTC."""
    args = tiny_args("asr_ctc_conformer")
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args)
        lengths = record_lengths(args, model)
        with FlopCounterMode(display=False) as flops:
            run_step(args, model, SECONDS, 4)
    conf = args.encoder_conf
    width, feats = conf["output_size"], int(SECONDS * 100) + 1
    frames = ((feats - 1) // 2 - 1) // 2
    assert lengths == [feats, frames]
    by_hand = conf["num_blocks"] * conformer_flops(
        frames, width, conf["linear_units"], conf["cnn_module_kernel"]
    )
    by_hand += embed_flops(feats, frames, width)
    by_hand += 2 * frames * width * 30 + 2 * feats * 257 * 80  # CTC; mel filters
    assert flops.get_total_flops() == pytest.approx(by_hand, rel=1e-9)


def test_forward_pass_of_the_papers_scorer():
    """Twice its 102.7 million parameters a frame, but for what is no product; beside
    them attention and the input layer's convolutions."""
    args = load_args(TINY.parent / "paper" / "asr_ctc_conformer_100m.yaml", 1024)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args)
        record_lengths(args, model)
        with FlopCounterMode(display=False) as flops:
            run_step(args, model, 32.0, 4)
    assert 25 * 2 * 100e6 < flops.get_total_flops() / 32.0 < 10e9


def test_sizes_are_those_of_the_real_model(tiny, count):
    model = build(tiny)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert count.parameters == sum(p.numel() for p in model.parameters())
    assert count.trained == sum(p.numel() for p in trained) < count.parameters
    assert count.model == nbytes(model.state_dict().values())
    run_step(tiny, model, SECONDS, 4).backward()
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
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(tiny)
        counted, copies = saved_bytes(model, lambda: run_step(tiny, model, SECONDS, 4))
    assert copies == 0  # no mixed precision
    model = build(tiny)
    run_step(
        tiny, model, SECONDS, 4
    ).backward()  # what is made once: positions, buffers
    model.zero_grad()
    for module in model.modules():  # ESPnet keeps it until the next step
        if hasattr(module, "attn"):
            module.attn = None
    gc.collect()
    before = heap_in_use()
    loss = run_step(tiny, model, SECONDS, 4)
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


def test_memory_of_a_transducer_is_not_linear():
    """It keeps a joint network of frames x tokens; each cast of its LSTM's weights
    counts once, though fake tensors cast them at every step and a GPU once."""
    args = argparse_copy(tiny_args("asr_transducer_conformer"), use_amp=True)
    short = count_step(args, 4.0, tokens_per_second=4)
    long = count_step(args, 4.0, tokens_per_second=4, longest=24.0)
    assert long.activations > 8 * short.activations
    assert long.flops == short.flops
    assert long.weight_copies == short.weight_copies <= 2 * long.parameters


def test_yaml_is_what_is_counted(tmp_path, tiny):
    """A change of the configuration changes the count."""
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    config["encoder_conf"]["num_blocks"] = 8
    config["loss"][-1]["conf"]["layer"] = 8
    path = tmp_path / "deep.yaml"
    path.write_text(yaml.safe_dump(config))
    with FakeTensorMode(allow_non_fake_inputs=True):
        shallow, deep = build(tiny), build(load_args(path, 30))
        per_layer = sum(p.numel() for p in shallow.encoder.encoders[0].parameters())
        grown = sum(p.numel() for p in deep.parameters())
        assert grown - sum(p.numel() for p in shallow.parameters()) == 4 * per_layer
