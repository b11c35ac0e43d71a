"""Counts what a training step computes and keeps, on tensors without numbers.

The model of a configuration is built and run as it stands, but on fake tensors
(``torch._subclasses``): they have shapes, types and a device and take no memory, so
that the largest model is counted in seconds without a GPU. FLOPs come from a forward
and backward pass on a fake CPU, activations from a forward pass on a fake GPU, where
mixed precision keeps other layers in float32 than on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from espnet2.tasks.abs_task import optim_classes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.core.errors import UserError
from espnet_a2m.training.task import sampling_rate

#: Samples between pseudo-labels, of which only the number matters here.
LABEL_STRIDE = 320


@dataclasses.dataclass(frozen=True)
class StepCount:
    """A training step on one utterance; sizes in bytes."""

    seconds: float  # length of the utterance
    feats: int  # frames of the front end
    frames: int  # frames of the encoder
    parameters: int  # numbers in the model's parameters
    trained: int  # those that are trained
    needs_labels: bool  # an objective predicts pseudo-labels
    model: int  # size of parameters and buffers, as in a checkpoint
    gradients: int
    optimizer: int  # size of its state
    longest: float  # seconds of the utterance that memory is counted for
    activations: int  # kept for the gradient; they grow with the batch
    weight_copies: int  # in half precision; they do not grow
    flops: int  # of products, convolutions and attention; a multiply-add is two


def build(args: argparse.Namespace, device: str = "cpu") -> Any:
    """The model of ``load_args`` in training mode, with ``freeze_param`` frozen."""
    # ESPnet builds no transducer without warprnnt_pytorch, which pip does not install
    stub: Any = types.SimpleNamespace(RNNTLoss=torch.nn.Identity)
    rnnt = sys.modules.setdefault("warprnnt_pytorch", stub)
    try:
        with torch.device(device):
            model = args.task.build_model(args).train()
    finally:
        if rnnt is stub:
            del sys.modules["warprnnt_pytorch"]
    for module in model.modules():  # what ESPnet builds on the CPU all the same
        for name, x in list(module.named_buffers(recurse=False)):
            module._buffers[name] = x.to(device)
        for name, x in list(module.named_parameters(recurse=False)):
            module._parameters[name] = torch.nn.Parameter(x.detach().to(device))
    for name, parameter in model.named_parameters():
        if any(name == x or name.startswith(f"{x}.") for x in args.freeze_param):
            parameter.requires_grad = False
    return model


def record_lengths(args: argparse.Namespace, model: Any) -> list[int]:
    """A list to which each run appends the frames of the front end and the encoder.

    A recogniser gets its lengths from it: ESPnet's masks need their numbers.
    """
    frames: list[int] = []

    def record(module: Any, inputs: Any, output: Any) -> Any:
        features, lengths, *rest = output
        hidden = features[0] if isinstance(features, tuple) else features
        frames.append(hidden.size(1))
        known = torch.tensor(frames[-1:]) if args.kind == "asr" else lengths
        return features, known, *rest

    for part in (model.frontend, model.encoder):
        part.register_forward_hook(record)
    return frames


def run_step(
    args: argparse.Namespace, model: Any, seconds: float, tokens_per_second: float
) -> torch.Tensor:
    """The loss of one utterance; a recogniser's is a stand-in with the same layers.

    ESPnet's own step looks at numbers (``y[y != ignore_id]``). Of a recogniser's losses
    this one has the softmax, which is what they keep for the gradient: CTC and
    attention the log probabilities, the transducer a gradient of their size.
    """
    device = next(model.parameters()).device
    num_samples = int(seconds * sampling_rate(args))
    speech = torch.randn(1, num_samples, device=device)
    if args.kind == "ssl":
        if device.type == "cpu":  # it sorts by numpy, which knows no fake tensors
            model.masking.draw = lambda _, frames, *__: torch.zeros(1, frames).bool()
        lengths = torch.tensor([num_samples], device=device)
        labels = torch.zeros(1, -(-num_samples // LABEL_STRIDE), device=device)
        labels_lengths = torch.tensor([labels.size(1)], device=device)
        return model(speech, lengths, labels=labels, labels_lengths=labels_lengths)[0]
    hidden, lengths = model.encode(speech, torch.tensor([num_samples]))
    logits = [] if model.ctc is None else [model.ctc.ctc_lo(hidden)]
    num_tokens = int(seconds * tokens_per_second) + 1
    text = torch.zeros(1, num_tokens, dtype=torch.long, device=device)
    if model.use_transducer_decoder:
        predicted = model.decoder(text)
        logits.append(model.joint_network(hidden[:, :, None], predicted[:, None]))
    elif model.decoder is not None:
        text_lengths = torch.tensor([num_tokens])
        logits.append(model.decoder(hidden, lengths, text, text_lengths)[0])
    return torch.stack([x.log_softmax(-1).sum() for x in logits]).sum()


def nbytes(tensors: Any) -> int:
    """Size of tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


class WeightCopies(TorchDispatchMode):
    """Notes the casts of parameters by mixed precision.

    ``originals``: storage of a cast -> that of the parameter, and the cast itself, held
    so that its address is not used again.
    """

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.parameters = {x.untyped_storage()._cdata for x in model.parameters()}
        self.originals: dict[int, tuple[int, torch.Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            original = args[0].untyped_storage()._cdata
            if original in self.parameters:
                self.originals[output.untyped_storage()._cdata] = original, output
        return output


def saved_bytes(model: Any, run: Callable[[], torch.Tensor]) -> tuple[int, int]:
    """Bytes of activations and of weights' copies that a run keeps for the gradient.

    Of each weight one copy counts: here an LSTM casts at every step, on a GPU once.
    """
    saved: dict[int, torch.UntypedStorage] = {}  # held, as in WeightCopies

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    with WeightCopies(model) as copies, hooks:
        run()
    for x in (*model.parameters(), *model.buffers()):
        saved.pop(x.untyped_storage()._cdata, None)
    casts = [key for key in saved if key in copies.originals]
    once = {copies.originals[key][0]: saved.pop(key).nbytes() for key in casts}
    return sum(x.nbytes() for x in saved.values()), sum(once.values())


def conv_backward_flops(grad: Any, x: Any, w: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of a convolution's backward pass: the forward pass's for each gradient.

    torch takes the weight gradient of a depthwise convolution for that of a full one.
    """
    transposed, output_mask = args[4], args[7]
    spatial = (x if transposed else grad)[2:]
    return 2 * x[0] * math.prod(w) * math.prod(spatial) * sum(output_mask[:2])


@contextlib.contextmanager
def with_config_name(args: argparse.Namespace) -> Iterator[None]:
    """Turn any error of ESPnet or torch into a UserError that names the file."""
    try:
        yield
    except Exception as error:
        # of a bare assertion, its line
        why = str(error).strip() or traceback.extract_tb(error.__traceback__)[-1].line
        raise UserError(
            f"{args.config}: the model cannot be built and run: {type(error).__name__}:"
            f" {str(why).splitlines()[0]}. Correct or complete its options"
        ) from error


def count_step(
    args: argparse.Namespace,
    seconds: float,
    tokens_per_second: float,
    longest: float | None = None,
) -> StepCount:
    """Count a training step on one utterance.

    Args:
        args: Of :func:`~espnet_a2m.training.estimate.load_args`.
        seconds: Length of the utterance.
        tokens_per_second: Of a recogniser's transcripts.
        longest: Length of the utterance that memory is counted for; None: the same.

    Raises:
        UserError: The model cannot be built, or the utterance is too short for it.
    """
    longest = longest or seconds
    backward = {torch.ops.aten.convolution_backward: conv_backward_flops}
    flops = FlopCounterMode(display=False, custom_mapping=backward)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=False)
    autocast._enabled = args.use_amp  # torch.autocast refuses where there is no GPU
    no_cudnn = torch.backends.cudnn.flags(enabled=False)  # it asks for a GPU
    with with_config_name(args), FakeTensorMode(allow_non_fake_inputs=True):
        model = build(args)
        frames = record_lengths(args, model)
        with flops:
            run_step(args, model, seconds, tokens_per_second).backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = optim_classes[args.optim](trained, **args.optim_conf)
        optimizer.step()
        on_gpu = build(args, "cuda")
        record_lengths(args, on_gpu)
        with autocast, no_cudnn:
            activations, weight_copies = saved_bytes(
                on_gpu, lambda: run_step(args, on_gpu, longest, tokens_per_second)
            )
    return StepCount(
        seconds=seconds,
        feats=frames[0],
        frames=frames[1],
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in trained),
        needs_labels=any(x.needs_labels for x in getattr(model, "objectives", ())),
        model=nbytes([*model.parameters(), *model.buffers()]),
        gradients=nbytes(p.grad for p in trained if p.grad is not None),
        optimizer=sum(nbytes(x.values()) for x in optimizer.state.values()),
        longest=longest,
        activations=activations,
        weight_copies=weight_copies,
        flops=flops.get_total_flops(),
    )
