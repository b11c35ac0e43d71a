"""The planner: what it counts, beside formulas by hand and what a real step takes; what
it estimates from the counts; what it refuses, and how it says so."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.planning import (
    SECONDS,
    TINY,
    argparse_copy,
    conformer_flops,
    lines,
    tiny_args,
    values,
)
from kaldiio import WriteHelper
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.bin.plan import get_parser, main
from espnet_a2m.core.errors import UserError
from espnet_a2m.data.archives import entry_bytes
from espnet_a2m.training.estimate import (
    GPUS,
    LABEL_MB,
    Estimate,
    build,
    count_step,
    in_a_batch,
    kept_bytes,
    load_args,
    nbytes,
    run_step,
)

pytestmark = pytest.mark.espnet

TIME = "time at utilisation 0.2"


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


def num_frames(seconds: float) -> tuple[int, int]:
    """Frames of the front end (10 ms, centred) and after two unpadded convolutions."""
    feats = int(seconds * 100) + 1
    return feats, ((feats - 1) // 2 - 1) // 2


def embed_flops(feats: int, frames: int, width: int) -> int:
    """Forward pass of ESPnet's ``conv2d`` on 40 mel filters: 19, then 9 positions."""
    first = (feats - 1) // 2 * 19 * width * 9
    second = frames * 9 * width * width * 9
    return 2 * (first + second + frames * 9 * width * width)


def test_step_is_that_of_the_configuration(tiny, count):
    """The encoder of a step by hand: conv2d is not trained in this configuration."""
    conf = tiny.encoder_conf
    width, layers = conf["output_size"], conf["num_blocks"]
    feats, frames = num_frames(SECONDS)
    layer = conformer_flops(
        frames, width, conf["linear_units"], conf["cnn_module_kernel"]
    )
    # forwards, and twice as much backwards through what is trained
    by_hand = embed_flops(feats, frames, width) + 3 * layers * layer
    assert by_hand == pytest.approx(count.flops, rel=0.03)  # the rest: mel, losses
    assert by_hand < count.flops


def test_forward_pass_of_a_recogniser_by_hand():
    """It is also the scorer's: encoder and CTC."""
    args = tiny_args("asr_ctc_conformer")
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args)
        with FlopCounterMode(display=False) as flops:
            run_step(args, model, SECONDS, 4)
    conf = args.encoder_conf
    width = conf["output_size"]
    feats, frames = num_frames(SECONDS)
    by_hand = conf["num_blocks"] * conformer_flops(
        frames, width, conf["linear_units"], conf["cnn_module_kernel"]
    )
    by_hand += embed_flops(feats, frames, width)
    by_hand += 2 * frames * width * 30 + 2 * feats * 257 * 40  # CTC; mel filters
    assert flops.get_total_flops() == pytest.approx(by_hand, rel=1e-9)


def test_forward_pass_of_the_papers_scorer():
    """Twice its 102.7 million parameters a frame, but for what is no product; beside
    them attention and the input layer's convolutions."""
    args = load_args(TINY.parent / "paper" / "asr_ctc_conformer_100m.yaml", 1024)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args)
        with FlopCounterMode(display=False) as flops:
            run_step(args, model, 32.0, 4)
    assert 25 * 2 * 100e6 < flops.get_total_flops() / 32.0 < 10e9


def test_sizes_are_those_of_the_real_model(tiny, count):
    model = build(tiny)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert count.parameters == sum(p.numel() for p in model.parameters())
    assert count.trained == sum(p.numel() for p in trained) < count.parameters
    assert count.model == nbytes([*model.parameters(), *model.buffers()])
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
        counted = kept_bytes(model, lambda: run_step(tiny, model, SECONDS, 4))
    model = build(tiny)
    run_step(
        tiny, model, SECONDS, 4
    ).backward()  # what is built once: positions, buffers
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


def test_estimates(tiny, count):
    base = values(tiny, count)
    # 400,000 samples are 3.1 utterances of 8 s, so the fourth is above; 4 epochs
    assert base["updates"] == pytest.approx(4 * 100 * 3600 / (4 * SECONDS))
    total = base["updates"] * 4 * count.flops
    assert base["compute: training"] == pytest.approx(total / 1e18)
    # float32, as the configuration has no use_amp
    days = total / (2 * 19.5e12 * 0.2) / 86400
    assert base[TIME] == pytest.approx(days)
    memory = [v for k, v in base.items() if k.startswith("memory: ")]
    assert sum(memory[:-1]) == pytest.approx(memory[-1])
    assert base["memory: activations"] == pytest.approx(2 * count.activations / 1e9)

    twice = values(tiny, count, ngpu=1)
    assert twice[TIME] == pytest.approx(2 * base[TIME])
    model = "memory: model and optimiser"
    copies = (base[model] - twice[model]) * 1e9  # of the gradients, to be summed
    assert copies == pytest.approx(count.gradients)
    better = values(tiny, count, utilisation=(0.4,))
    assert better["time at utilisation 0.4"] == pytest.approx(base[TIME] / 2)
    # of 4 utterances, the first of 3 GPUs has two, and the others wait for it
    assert values(tiny, count, ngpu=3)[TIME] == pytest.approx(base[TIME])
    uneven = values(tiny, count, ngpu=3)
    assert uneven["memory: activations"] == base["memory: activations"]
    half = values(tiny, count, updates=math.ceil(base["updates"] / 2))
    assert half[TIME] == pytest.approx(base[TIME] / 2, rel=1e-3)
    more = values(tiny, count, hours=200.0)
    for name in ("disk: audio", "disk: confidences", TIME):
        assert more[name] == pytest.approx(2 * base[name])


def test_batches_of_fixed_length_epochs(tiny, count):
    args = argparse_copy(tiny, num_iters_per_epoch=1000, accum_grad=2, max_epoch=3)
    assert values(args, count)["updates"] == 1500


def test_batches_are_as_large_as_espnets(tmp_path):
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


def test_time_is_told_for_each_utilisation(tiny, count):
    both = values(tiny, count, utilisation=(0.1, 0.3))
    slow, fast = (both[f"time at utilisation {x}"] for x in (0.1, 0.3))
    assert slow == pytest.approx(3 * fast)
    slow, fast = (both[f"audio a second at {x}"] for x in (0.1, 0.3))
    assert slow == pytest.approx(fast / 3)
    # two GPUs hear all of the audio in this time
    days = both["time at utilisation 0.3"]
    assert 2 * fast * days * 86400 == pytest.approx(4 * 100 * 3600)


@pytest.mark.parametrize(
    "value, shown",
    [(0.00012345, "0.000123"), (12.345, "12.3"), (1767.4, "1,767"), (999.9, "1,000")],
)
def test_numbers_have_three_digits(value, shown):
    assert f" {shown} days " in str(Estimate("time", value, "days", "counted"))


def test_command(tiny, capsys):
    command = ["--config", tiny.config, "--hours", "100", "--ngpu", "2"]
    command += ["--seconds", str(SECONDS), "--utilisation", "0.2"]
    main([*command, "--longest", "20"])
    count = count_step(tiny, SECONDS, tokens_per_second=4, longest=20)
    printed = capsys.readouterr().out
    assert printed == "".join(f"{x}\n" for x in lines(tiny, count).values())
    main(command)
    assert "counted for 32 s, times 1" in capsys.readouterr().out
    *names, last = GPUS
    help_text = " ".join(get_parser().format_help().split())
    assert f"{', '.join(names)} or {last}" in help_text


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


def test_values_that_are_not_given_are_espnets(tmp_path, tiny, count):
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    for name in ("batch_bins", "max_epoch", "accum_grad", "scheduler_conf"):
        del config[name]
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(config))
    said = lines(load_args(path, 30), count)
    assert "batch_bins 1,000,000: " in said["batch, all GPUs"].basis
    assert "max_epoch 40 of " in said["updates"].basis
    assert said["updates"].basis.endswith("accum_grad 1")
    assert said["warm-up"].value == 25000


def test_uncropped_pretraining_has_librispeechs_mean(tmp_path, tiny, capsys):
    config = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    config["collate_fn_conf"] = {"crop_duration": None}
    path = tmp_path / "uncropped.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["--config", str(path), "--hours", "100"])
    shown = capsys.readouterr().out
    assert "utterances of 12.3 s" in shown and "counted for 32 s" in shown


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
        (["--gpu", "none"], "--gpu='none': choose one of v100"),
        (["--utilisation", "0.3", "nan"], r"--utilisation nan: must be in \(0, 1\]"),
        (["--seconds", "inf"], "--seconds inf: must be above 0 and finite"),
        (["--tokens_per_second", "inf"], "--tokens_per_second inf: must be above 0"),
        (["--ngpu", "0"], "--ngpu 0: must be above 0"),
        (["--utilisation", "1.5"], r"--utilisation 1.5: must be in \(0, 1\]"),
        (["--updates", "-1"], "--updates -1: must be above 0"),
        (["--seconds", "0"], "--seconds 0.0: must be above 0"),
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


def test_front_ends_with_checkpoints_are_refused():
    path = TINY / "asr_ctc_espnet_ssl.yaml"
    with pytest.raises(UserError, match="frontend: espnet_ssl"):
        load_args(path, num_tokens=30)


@pytest.mark.parametrize(
    "change, message",
    [
        ("accum_grad: 0", "accum_grad: 0: must be above 0"),
        ("batch_bins: 0", "batch_bins: 0: must be above 0"),
        ("max_epoch: -1", "max_epoch: -1: must be above 0"),
        ("batch_type: length", "batch_type: length: plan numel batches"),
        (
            "encoder_conf: {output_size: 144, attention_heads: 5}",
            "AssertionError: assert n_feat % n_head == 0",
        ),
        ("collate_fn_conf: {crop_duration: -3}", "crop_duration: -3: must be above 0"),
        ("collate_fn_conf: {crop_duration: .inf}", "crop_duration: inf: must be above"),
        ("collate_fn_conf: {crop_duration: x}", "crop_duration: x: must be above 0"),
        ("optim_conf: {lr: -1}", "Invalid learning rate"),
        ("loss: [{name: best_rq}]", "the model cannot be built and run: TypeError"),
        (
            None,
            "the model cannot be built and run: AssertionError: decoder should not be "
            "None when attention is used. Correct or complete its options",
        ),
    ],
)
def test_configurations_that_cannot_be_trained(tmp_path, tiny, capsys, change, message):
    # of a recogniser, without its decoder
    config = {"encoder": "conformer", "batch_type": "numel"}
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
