"""What a training step computes and keeps, counted on tensors without numbers.

The model of a configuration is built and run as it stands, but on fake tensors
(``torch._subclasses``, which torch's own compiler plans with): they have shapes, types
and a device and take no memory, so that the largest model is counted in seconds on a
machine without a GPU.

Two runs: one on a fake CPU, forwards and backwards, for operations and the optimiser's
state; one on a fake GPU, forwards, for what is kept for the gradient, because
mixed precision keeps other layers in float32 there than on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import math
import sys
import types
from collections.abc import Iterator
from typing import Any

import torch
from espnet2.tasks.abs_task import optim_classes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.core.errors import UserError
from espnet_a2m.training.plan_config import LABEL_STRIDE, naming_config
from espnet_a2m.training.saved_memory import autocast, nbytes, saved_bytes
from espnet_a2m.training.task import sampling_rate


@dataclasses.dataclass(frozen=True)
class StepCount:
    """Of one training step on one utterance; sizes in bytes.

    Attributes:
        samples: Of its audio.
        feats: Frames of the front end.
        frames: Frames of the encoder.
        parameters: Numbers in the model's parameters.
        trained: Of these, those that are trained.
        model: Size of parameters and buffers, as a checkpoint holds them.
        gradients: Size of the gradients.
        optimizer: Size of the optimiser's state.
        activations: Size of what is kept for the gradient; grows with the batch.
        longest_samples: Samples of the longest utterance.
        longest_activations: Activations of the longest utterance.
        weight_copies: Size of the half-precision copies of weights that mixed precision
            keeps; does not grow.
        flops: Operations forwards and backwards, a multiply-add being two. Counted are
            matrix products, convolutions and attention.
        input_share: Front end and the encoder's input layer in those of the forward
            pass.
    """

    samples: int
    feats: int
    frames: int
    parameters: int
    trained: int
    model: int
    gradients: int
    optimizer: int
    activations: int
    longest_samples: int
    longest_activations: int
    weight_copies: int
    flops: int
    input_share: float


@contextlib.contextmanager
def transducer_loss() -> Iterator[None]:
    """ESPnet builds no transducer without this package, which pip does not install."""
    name = "warprnnt_pytorch"
    if importlib.util.find_spec(name):
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].RNNTLoss = torch.nn.Identity  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules[name]


def build(args: argparse.Namespace, device: str = "cpu") -> torch.nn.Module:
    """The model of ``load_args`` in training mode, its frozen parts frozen.

    Within a ``FakeTensorMode`` it takes no memory.
    """
    with torch.device(device), transducer_loss():
        model = args.task.build_model(args).train()
    for module in model.modules():  # what ESPnet made elsewhere all the same
        for name, value in list(module.named_buffers(recurse=False)):
            module._buffers[name] = value.to(device)
        for name, parameter in list(module.named_parameters(recurse=False)):
            moved = torch.nn.Parameter(parameter.detach().to(device))
            module._parameters[name] = moved
    for name, parameter in model.named_parameters():
        if any(name == x or name.startswith(f"{x}.") for x in args.freeze_param):
            parameter.requires_grad = False
    return model


def run_ssl(model: torch.nn.Module, num_samples: int, num_tokens: int) -> torch.Tensor:
    """The loss of a pre-training on one utterance."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        # as many frames as ever, but sorted by numpy, which knows no fake tensors
        def draw(lengths: Any, num_frames: int, *_: Any) -> torch.Tensor:
            return torch.zeros(1, num_frames, dtype=torch.bool)

        model.masking.draw = draw  # type: ignore[union-attr, assignment]
    labels = torch.zeros(1, -(-num_samples // LABEL_STRIDE), device=device)
    return model(
        speech=torch.randn(1, num_samples, device=device),
        speech_lengths=torch.tensor([num_samples], device=device),
        labels=labels,
        labels_lengths=torch.tensor([labels.size(1)], device=device),
    )[0]


def run_asr(model: Any, num_samples: int, num_tokens: int) -> torch.Tensor:
    """A stand-in for the loss of a recogniser on one utterance.

    ESPnet's own step looks at numbers (``y[y != ignore_id]``). This one goes through
    the same layers; of the losses it has the softmax only, which is what they keep: CTC
    and attention the log probabilities, the transducer a gradient of their size.
    """
    device = next(model.parameters()).device
    speech = torch.randn(1, num_samples, device=device)
    hidden, lengths = model.encode(speech, torch.tensor([num_samples]))
    logits = []
    if model.ctc is not None:
        logits.append(model.ctc.ctc_lo(hidden))
    text = torch.zeros(1, num_tokens + 1, dtype=torch.long, device=device)
    if model.use_transducer_decoder:
        predicted = model.decoder(text)
        logits.append(model.joint_network(hidden[:, :, None], predicted[:, None]))
    elif model.decoder is not None:
        text_lengths = torch.tensor([text.size(1)])
        logits.append(model.decoder(hidden, lengths, text, text_lengths)[0])
    return torch.stack([x.log_softmax(-1).sum() for x in logits]).sum()


def note_lengths(model: Any, renew: bool) -> list[int]:
    """Have a model note the frames of its front end and encoder.

    Args:
        model: The model.
        renew: Give the numbers to the model, too. A fake tensor of one number may know
            it, but forgets it in ESPnet's masks. There is one utterance, so it has as
            many frames as there are.
    """
    lengths: list[int] = []

    def note(module: Any, args: Any, output: Any) -> Any:
        features, old, *rest = output
        hidden = features[0] if isinstance(features, tuple) else features
        lengths.append(hidden.size(1))
        return (features, torch.tensor([lengths[-1]]), *rest) if renew else output

    for part in (model.frontend, model.encoder):
        part.register_forward_hook(note)
    return lengths


def conv_backward_flops(
    grad_shape: Any, x_shape: Any, w_shape: Any, *args: Any, **kwargs: Any
) -> int:
    """Operations of a convolution's backward pass: those of the forward, once each for
    the gradients of its input and its weight.

    torch's own count takes the weight's gradient of a depthwise convolution for that of
    a full one, which made the steps of conf/base half as long again.
    """
    transposed, output_mask = args[4], args[7]
    spatial = (x_shape if transposed else grad_shape)[2:]
    forward = 2 * x_shape[0] * math.prod(w_shape) * math.prod(spatial)
    return forward * sum(output_mask[:2])


def optimizer_bytes(args: argparse.Namespace, model: torch.nn.Module) -> int:
    """Size of the optimiser's state after a step on gradients that are there."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim_classes[args.optim](trained, **args.optim_conf)
    optimizer.step()
    return sum(nbytes(state.values()) for state in optimizer.state.values())


def count_saved(
    args: argparse.Namespace, seconds: float, tokens_per_second: float
) -> tuple[int, int]:
    """:func:`saved_bytes` of a configuration's step on one utterance, on a GPU."""
    num_samples = int(seconds * sampling_rate(args))
    num_tokens = int(seconds * tokens_per_second)
    run = run_ssl if args.kind == "ssl" else run_asr
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args, "cuda")
        note_lengths(model, renew=run is run_asr)
        no_cudnn = torch.backends.cudnn.flags(enabled=False)  # asks for a GPU
        with autocast("cuda", args.use_amp), no_cudnn:
            return saved_bytes(model, lambda: run(model, num_samples, num_tokens))


def count_step(
    args: argparse.Namespace,
    seconds: float,
    tokens_per_second: float,
    longest: float | None = None,
) -> StepCount:
    """Count a training step on one utterance.

    Args:
        args: Of :func:`~espnet_a2m.training.plan_config.load_args`.
        seconds: Length of the utterance.
        tokens_per_second: Of its transcript, for a recogniser.
        longest: Length of the longest utterance, for its activations; None: all are
            as long as this one.

    Raises:
        UserError: The model cannot be built, or the utterance is too short for it.
    """
    fs = sampling_rate(args)
    num_samples = int(seconds * fs)
    num_tokens = int(seconds * tokens_per_second)
    longest = seconds if longest is None else longest
    backward = {torch.ops.aten.convolution_backward: conv_backward_flops}
    run = run_ssl if args.kind == "ssl" else run_asr
    with FakeTensorMode(allow_non_fake_inputs=True):
        with naming_config(args, "the model cannot be built"):
            model = build(args)
        lengths = note_lengths(model, renew=run is run_asr)
        with (
            naming_config(args, f"{seconds:g} s of audio"),
            FlopCounterMode(display=False, custom_mapping=backward) as flops,
        ):
            loss = run(model, num_samples, num_tokens)
            forward = {k: sum(v.values()) for k, v in flops.get_flop_counts().items()}
            loss.backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients = nbytes(p.grad for p in trained if p.grad is not None)
        with naming_config(args, f"{args.optim}: optim_conf"):
            optimizer = optimizer_bytes(args, model)
    with naming_config(args, f"{seconds:g} s of audio on a GPU"):
        activations, weight_copies = count_saved(args, seconds, tokens_per_second)
    longest_activations = activations
    if longest != seconds:
        with naming_config(args, f"{longest:g} s of audio on a GPU"):
            longest_activations = count_saved(args, longest, tokens_per_second)[0]
    # the counter names a part after the module that was called, model or part
    name, parts = type(model).__name__, (model.frontend, model.encoder)
    frontend, encoder = (type(part).__name__ for part in parts)
    inputs = {f"{name}.frontend", f"{name}.encoder.embed", frontend, f"{encoder}.embed"}
    return StepCount(
        samples=num_samples,
        feats=lengths[0],
        frames=lengths[1],
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in trained),
        model=nbytes([*model.parameters(), *model.buffers()]),
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        longest_samples=int(longest * fs),
        longest_activations=longest_activations,
        weight_copies=weight_copies,
        flops=flops.get_total_flops(),
        input_share=sum(forward.get(x, 0) for x in inputs) / forward["Global"],
    )


def count_scoring(args: argparse.Namespace, seconds: float) -> float:
    """Operations of scoring a second of audio: a recogniser's encoder and CTC.

    Args:
        args: Of :func:`~espnet_a2m.training.plan_config.load_args`, of a recogniser.
        seconds: Length of the utterance that is counted.

    Raises:
        UserError: It is no recogniser with CTC, or cannot be built.
    """
    if args.kind != "asr" or not args.model_conf.get("ctc_weight", 0.5):
        raise UserError(
            f"{args.config}: --scorer_config: must be a recogniser with CTC, as "
            "conf/paper/asr_ctc_conformer_100m.yaml"
        )
    with (
        naming_config(args, "the model cannot be built or run"),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
    ):
        model: Any = build(args)
        note_lengths(model, renew=True)
        num_samples = int(seconds * sampling_rate(args))
        speech = torch.randn(1, num_samples)
        with FlopCounterMode(display=False) as flops:
            model.ctc.ctc_lo(model.encode(speech, torch.tensor([num_samples]))[0])
    return flops.get_total_flops() / seconds
