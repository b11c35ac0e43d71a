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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from espnet2.tasks.abs_task import optim_classes
from espnet2.tasks.asr import ASRTask
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m.config_check import check_config, load_config
from espnet_a2m.errors import UserError
from espnet_a2m.task import A2MTask, sampling_rate
from espnet_a2m.trained_model import check_self_contained

#: Labels of HuBERT for the count: a label every 20 ms.
LABEL_STRIDE = 320


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
    weight_copies: int
    flops: int
    input_share: float


def task_of(config: Mapping[str, Any]) -> str:
    """``ssl`` or ``asr``, whichever a configuration is for."""
    return "ssl" if "loss" in config else "asr"


def load_args(path: str | Path, num_tokens: int) -> argparse.Namespace:
    """Options of a configuration, less what changes neither sizes nor operations.

    Confidences, statistics and labels need files; the first two change no size, and
    labels do not matter beyond their number of frames.

    Args:
        path: YAML file for ``espnet_a2m.bin.ssl_train`` or ``asr_train``.
        num_tokens: Size of the vocabulary of a recogniser.

    Raises:
        UserError: It is no such file, or has a part that reads further files.
    """
    config = load_config(path)
    name = task_of(config)
    check_config(path, name)
    check_self_contained(config, str(path))
    task: Any = {"ssl": A2MTask, "asr": ASRTask}[name]
    args = task.get_parser().parse_args(["--config", str(path), "--output_dir", "-"])
    args.task, args.kind = task, name
    args.normalize = None
    if name == "ssl":
        args.masking_conf = {**args.masking_conf, "guidance": "uniform"}
        args.model_conf = {**args.model_conf, "utterance_weight": "none"}
        fs = sampling_rate(args)
        args.label_grid = {"fs": fs, "offset": 0.0, "stride": LABEL_STRIDE}
    else:
        pieces = [f"piece{i}" for i in range(num_tokens - 3)]
        args.token_list = ["<blank>", "<unk>", *pieces, "<sos/eos>"]
        args.specaug = None  # the widths of its masks depend on numbers
    return args


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
    """The model of :func:`load_args` in training mode, its frozen parts frozen.

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


class WeightCopies(TorchDispatchMode):
    """Notes the copies in another type that are made of parameters."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.parameters = {x.untyped_storage()._cdata for x in model.parameters()}
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if (
            func is torch.ops.aten._to_copy.default
            and args[0].untyped_storage()._cdata in self.parameters
        ):
            storage = output.untyped_storage()
            self.storages[storage._cdata] = storage
        return output


def saved_bytes(
    model: torch.nn.Module, run: Callable[[], torch.Tensor]
) -> tuple[int, int]:
    """What a forward pass keeps for the gradient, apart from the parameters.

    Returns:
        Bytes of activations; bytes of copies of weights.
    """
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage  # held: its place is not used again
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    with WeightCopies(model) as copies, hooks:
        loss = run()
    del loss
    sizes = {key: storage.nbytes() for key, storage in saved.items()}
    of_weights = sum(n for key, n in sizes.items() if key in copies.storages)
    of_model = {
        x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())
    }
    activations = sum(n for key, n in sizes.items() if key not in of_model)
    return activations - of_weights, of_weights


@contextlib.contextmanager
def autocast(device: str, enabled: bool) -> Iterator[None]:
    """``torch.autocast`` to bfloat16, also for a GPU that is not there."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, enabled)
    torch.set_autocast_dtype(device, torch.bfloat16)
    torch.autocast_increment_nesting()  # casts of weights are kept until the end
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])
        torch.clear_autocast_cache()


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


def nbytes(tensors: Any) -> int:
    """Size of tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


def optimizer_bytes(args: argparse.Namespace, model: torch.nn.Module) -> int:
    """Size of the optimiser's state after a step on gradients that are there."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim_classes[args.optim](trained, **args.optim_conf)
    optimizer.step()
    return sum(nbytes(state.values()) for state in optimizer.state.values())


def count_step(
    args: argparse.Namespace, seconds: float, tokens_per_second: float
) -> StepCount:
    """Count a training step on one utterance.

    Args:
        args: Of :func:`load_args`.
        seconds: Length of the utterance.
        tokens_per_second: Of its transcript, for a recogniser.

    Raises:
        UserError: The model cannot be built, or the utterance is too short for it.
    """
    num_samples = int(seconds * sampling_rate(args))
    num_tokens = int(seconds * tokens_per_second)
    backward = {torch.ops.aten.convolution_backward: conv_backward_flops}
    run = run_ssl if args.kind == "ssl" else run_asr
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = build(args)
            lengths = note_lengths(model, renew=run is run_asr)
            with FlopCounterMode(display=False, custom_mapping=backward) as flops:
                loss = run(model, num_samples, num_tokens)
                forward = {
                    k: sum(v.values()) for k, v in flops.get_flop_counts().items()
                }
                loss.backward()
            trained = [p for p in model.parameters() if p.requires_grad]
            gradients = nbytes(p.grad for p in trained if p.grad is not None)
            optimizer = optimizer_bytes(args, model)

            on_gpu = build(args, "cuda")
            note_lengths(on_gpu, renew=run is run_asr)
            no_cudnn = torch.backends.cudnn.flags(enabled=False)  # asks for a GPU
            with autocast("cuda", args.use_amp), no_cudnn:
                activations, weight_copies = saved_bytes(
                    on_gpu, lambda: run(on_gpu, num_samples, num_tokens)
                )
    except ValueError as error:
        raise UserError(f"{args.config}: {seconds:g} s of audio: {error}") from error
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
        weight_copies=weight_copies,
        flops=flops.get_total_flops(),
        input_share=sum(forward.get(x, 0) for x in inputs) / forward["Global"],
    )
