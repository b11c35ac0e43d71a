"""What a training run needs of GPUs, memory, disk and days, before it starts.

The model of a configuration is built and run on fake tensors (``torch._subclasses``),
which have shapes, types and a device but no numbers: the largest one is counted in
seconds without a GPU. FLOPs come from a forward and backward pass on a fake CPU,
activations from a forward pass on a fake GPU, where mixed precision keeps other layers
in float32 than on a CPU. What each figure rests on: docs/planning.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from espnet2.tasks.abs_task import optim_classes, scheduler_classes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from espnet_a2m import compat
from espnet_a2m.compat.load import check_self_contained
from espnet_a2m.core.config import check_choice, load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.training.task import A2MTask, leave_out_files, sampling_rate
from espnet_a2m.training.validate_config import get_task
from espnet_a2m.training.validate_recipe import read_options

#: NVIDIA's dense peaks in 16 bits and in float32 without TF32, TFLOP/s; memory, GB.
GPUS = {
    "v100": (125.0, 15.7, 32.0),
    "a10": (125.0, 31.2, 24.0),
    "a40": (149.7, 37.4, 48.0),
    "a100-40": (312.0, 19.5, 40.0),
    "a100": (312.0, 19.5, 80.0),
    "l40s": (362.0, 91.6, 48.0),
    "h100": (989.0, 67.0, 80.0),
    "h200": (989.0, 67.0, 141.0),
}
#: Mean length of LibriSpeech's 281,241 utterances (960.9 h); where the recipes cut.
LIBRISPEECH_SECONDS, LONGEST_SECONDS = 12.3, 32.0
#: MB an hour: FLAC, as of LibriSpeech's dev-clean-2; confidences, a byte each at 25 Hz;
#: labels, 5 bytes each (an archive's vector of int32) at MFCC's 100 Hz.
FLAC_MB, CONFIDENCE_MB, LABEL_MB = 67.3, 0.121, 5 * 100 * 3600 / 1e6
#: Layers whose weights mixed precision casts, and to what.
CAST = (torch.nn.Linear, torch.nn.modules.conv._ConvNd, torch.nn.RNNBase)
HALF = torch.bfloat16


def check_positive(name: str, value: Any) -> None:
    """Refuse what is neither None nor a finite number above 0."""
    is_number = isinstance(value, int | float) and 0 < value < math.inf
    if value is not None and not is_number:
        raise UserError(f"{name} {value}: must be above 0 and finite")


@dataclasses.dataclass
class Resources:
    """Data and GPUs of a training run, as the options of ``bin.plan`` give them."""

    hours: float  # audio in the training set
    gpu: str = "a100"  # a name of GPUS
    ngpu: int = 8  # of all machines together
    utilisation: Sequence[float] = (0.1, 0.3)  # shares of the peak
    updates: int | None = None  # None: from the configuration's max_epoch
    seconds: float | None = None  # of an utterance; None: the crop, or LibriSpeech's
    longest: float | None = None  # of the longest; None: the crop, or the recipes'
    nbpe: int = 1024  # vocabulary of a recogniser
    tokens_per_second: float = 4.0  # of its transcripts

    def __post_init__(self) -> None:
        check_choice("--gpu", self.gpu, GPUS)
        for share in self.utilisation:
            if not 0 < share <= 1:
                raise UserError(f"--utilisation {share}: must be in (0, 1]")
        for name, value in vars(self).items():
            if name not in ("gpu", "utilisation"):
                check_positive(f"--{name}", value)


def load_args(path: str | Path, num_tokens: int) -> argparse.Namespace:
    """Options of a YAML file for ``espnet_a2m.bin.ssl_train`` or ``asr_train``.

    Those that need files are left out: they change no size. Added are ``task``,
    ``warmup_steps`` and ``crop`` (seconds), which may be None, and a recogniser's
    ``num_tokens`` tokens.

    Raises:
        UserError: It is no such file, reads further files, or has impossible numbers.
    """
    config = load_config(path)
    kind = "ssl" if "loss" in config else "asr"
    args = argparse.Namespace(**read_options(path, kind).values)
    check_self_contained(config, str(path))
    args.task = get_task(kind)[0]
    args.crop = args.warmup_steps = None
    if args.task is A2MTask:
        leave_out_files(args)
        args.crop = args.collate_fn_conf.get("crop_duration", 32.0)
    else:
        pieces = [f"piece{i}" for i in range(num_tokens - 3)]
        args.token_list = ["<blank>", "<unk>", *pieces, "<sos/eos>"]
        args.normalize = None
        args.specaug = None  # the widths of its masks depend on numbers
    if args.scheduler is not None:
        known = inspect.signature(scheduler_classes[args.scheduler]).parameters
        if warmup := known.get("warmup_steps"):
            args.warmup_steps = args.scheduler_conf.get(warmup.name, warmup.default)
    if args.batch_type != "numel":
        raise UserError(f"{path}: batch_type: {args.batch_type}: plan numel batches")
    for name in ("batch_bins", "accum_grad", "max_epoch", "num_iters_per_epoch"):
        check_positive(f"{path}: {name}:", getattr(args, name))
    check_positive(f"{path}: collate_fn_conf: crop_duration:", args.crop)
    return args


@dataclasses.dataclass(frozen=True)
class StepCount:
    """A training step on one utterance; sizes in bytes."""

    seconds: float  # length of the utterance
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
    """The model of ``load_args`` in training mode, with ``freeze_param`` frozen.

    With mixed precision on a GPU, weights that autocast casts once a batch are cast.
    """
    rnnt_loss = f"{compat.__path__[0]}/rnnt_loss"
    if rnnt_loss not in sys.path:  # for a transducer without warp-transducer
        sys.path.append(rnnt_loss)
    with torch.device(device):
        model = args.task.build_model(args).train()
    for module in model.modules():  # what ESPnet builds on the CPU all the same
        is_cast = device == "cuda" and args.use_amp and isinstance(module, CAST)
        for name, x in list(module.named_buffers(recurse=False)):
            module._buffers[name] = x.to(device)
        for name, x in list(module.named_parameters(recurse=False)):
            x = x.detach().to(device, HALF if is_cast else x.dtype)
            module._parameters[name] = torch.nn.Parameter(x)
    for name, parameter in model.named_parameters():
        if any(f"{name}.".startswith(f"{x}.") for x in args.freeze_param):
            parameter.requires_grad = False
    return model


def run_step(
    args: argparse.Namespace, model: Any, seconds: float, tokens_per_second: float
) -> torch.Tensor:
    """The loss of one utterance; a recogniser's is a stand-in with the same layers.

    ESPnet's own step looks at numbers (``y[y != ignore_id]``). Of a recogniser's losses
    this one has the softmax, which is what they keep for the gradient: CTC and
    attention the log probabilities, the transducer a gradient of their size.
    """
    device = next(model.parameters()).device
    samples = int(seconds * sampling_rate(args))
    speech = torch.randn(1, samples, device=device)
    if args.task is A2MTask:
        lengths = torch.tensor([samples], device=device)
        # it sorts by numpy, which knows no fake tensors
        model.masking.draw = lambda _, frames, *__: speech.new_zeros(1, frames).bool()
        streams = {"confidence": speech, "confidence_lengths": lengths}
        streams |= {"labels": speech, "labels_lengths": lengths}
        return model(speech, lengths, **streams)[0]

    feats, lengths = model.frontend(speech, torch.tensor([samples]))
    if model.preencoder is not None:
        feats, lengths = model.preencoder(feats, lengths)
    hidden, *_ = model.encoder(feats, torch.tensor([feats.size(1)]))
    if isinstance(hidden, tuple):  # with intermediate CTC
        hidden = hidden[0]
    logits = [] if model.ctc is None else [model.ctc.ctc_lo(hidden)]
    num_tokens = int(seconds * tokens_per_second) + 1
    text = torch.zeros(1, num_tokens, dtype=torch.long, device=device)
    if model.use_transducer_decoder:
        predicted = model.decoder(text)
        logits.append(model.joint_network(hidden[:, :, None], predicted[:, None]))
    elif model.decoder is not None:
        lengths = torch.tensor([hidden.size(1)])
        text_lengths = torch.tensor([num_tokens])
        logits.append(model.decoder(hidden, lengths, text, text_lengths)[0])
    return torch.stack([x.log_softmax(-1).sum() for x in logits]).sum()


def nbytes(tensors: Iterable[torch.Tensor]) -> int:
    """Size of tensors."""
    return sum(x.nbytes for x in tensors)


def kept_bytes(model: Any, run: Callable[[], Any]) -> int:
    """Bytes that a run keeps for the gradient, beside what the model holds before."""
    held = [*model.parameters(), *model.buffers()]
    for module in model.modules():  # ESPnet's positions are neither
        held += [x for x in vars(module).values() if isinstance(x, torch.Tensor)]
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    for x in held:
        kept.pop(x.untyped_storage()._cdata, None)
    return sum(x.nbytes() for x in kept.values())


def conv_backward_flops(grad: Any, x: Any, w: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of a convolution's backward pass: the forward pass's for each gradient.

    torch takes the weight gradient of a depthwise convolution for that of a full one.
    """
    transposed, output_mask = args[4], args[7]
    spatial = (x if transposed else grad)[2:]
    return 2 * x[0] * math.prod(w) * math.prod(spatial) * sum(output_mask[:2])


def count_step(
    args: argparse.Namespace,
    seconds: float,
    tokens_per_second: float,
    longest: float | None = None,
) -> StepCount:
    """Count a training step on one utterance; its memory on one of ``longest`` seconds.

    A recogniser's transcripts have ``tokens_per_second``.

    Raises:
        UserError: The model cannot be built, or the utterance is too short for it.
    """
    longest = max(longest or 0.0, seconds)
    backward = {torch.ops.aten.convolution_backward: conv_backward_flops}
    flops = FlopCounterMode(display=False, custom_mapping=backward)
    autocast = torch.autocast("cuda", HALF, enabled=False)
    autocast._enabled = args.use_amp  # torch.autocast refuses where there is no GPU
    no_cudnn = torch.backends.cudnn.flags(enabled=False)  # it asks for a GPU
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model, on_gpu = build(args), build(args, "cuda")
            with flops:
                run_step(args, model, seconds, tokens_per_second).backward()
            trained = [p for p in model.parameters() if p.requires_grad]
            optimizer = optim_classes[args.optim](trained, **args.optim_conf)
            optimizer.step()
            with autocast, no_cudnn:
                activations = kept_bytes(
                    on_gpu, lambda: run_step(args, on_gpu, longest, tokens_per_second)
                )
    except Exception as error:  # of ESPnet or torch; of a bare assertion, its line
        why = str(error).strip() or traceback.extract_tb(error.__traceback__)[-1].line
        raise UserError(
            f"{args.config}: the model cannot be built and run: {type(error).__name__}:"
            f" {str(why).splitlines()[0]}. Correct or complete its options"
        ) from error
    return StepCount(
        seconds=seconds,
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in trained),
        needs_labels=any(x.needs_labels for x in getattr(model, "objectives", ())),
        model=nbytes([*model.parameters(), *model.buffers()]),
        gradients=nbytes(p.grad for p in trained if p.grad is not None),
        optimizer=sum(nbytes(x.values()) for x in optimizer.state.values()),
        longest=longest,
        activations=activations,
        weight_copies=nbytes(p for p in on_gpu.parameters() if p.dtype == HALF),
        flops=flops.get_total_flops(),
    )


class Estimate(NamedTuple):
    """A number and what it rests on."""

    name: str
    value: float
    unit: str
    basis: str

    def __str__(self) -> str:
        digits = ".0f" if self.value >= 1000 else ".3g"  # integers in full
        shown = f"{float(f'{self.value:{digits}}'):,.9g}"
        return f"{self.name:<31}{shown:>13} {self.unit:<8} {self.basis}"


def in_a_batch(batch_bins: int, samples: int, ngpu: int) -> int:
    """Utterances of a batch, of all GPUs.

    ESPnet ends it as soon as it is *above* ``batch_bins`` and each GPU has one.
    """
    return max(batch_bins // samples + 1, ngpu)


def memory(
    args: argparse.Namespace, count: StepCount, given: Resources
) -> Iterator[Estimate]:
    """Memory of the GPU that has most of a batch of the longest utterances."""
    samples = int(count.longest * sampling_rate(args))
    times = -(-in_a_batch(args.batch_bins, samples, given.ngpu) // given.ngpu)
    fixed = count.model + count.gradients + count.optimizer
    basis = f"parameters, buffers, gradients, state of {args.optim}"
    if args.use_amp:
        fixed += count.weight_copies
        basis += ", weights in 16 bits"
    if given.ngpu > 1:
        fixed += count.gradients
        basis += ", DistributedDataParallel's copy of the gradients"
    yield Estimate("memory: model and optimiser", fixed / 1e9, "GB", basis)
    activations = count.activations * times
    basis = f"counted for {count.longest:g} s, times {times}, use_amp {args.use_amp}"
    yield Estimate("memory: activations", activations / 1e9, "GB", basis)
    total, most = (fixed + activations) / 1e9, GPUS[given.gpu][2]
    basis = f"of {most:g} GB; add a fifth for temporaries and fragmentation"
    if 1.2 * total > most:
        basis += ". TOO MUCH: lower batch_bins, raise accum_grad"
    yield Estimate("memory: sum, each GPU", total, "GB", basis)


def disk(
    args: argparse.Namespace, count: StepCount, hours: float
) -> Iterator[Estimate]:
    """What the data and the training run write."""
    basis = f"{FLAC_MB} MB an hour, as FLAC of LibriSpeech; its source not included"
    yield Estimate("disk: audio", hours * FLAC_MB / 1e6, "TB", basis)
    if args.task is A2MTask:
        size, basis = hours * CONFIDENCE_MB / 1e3, "one byte a frame at 25 Hz"
        yield Estimate("disk: confidences", size, "GB", basis)
    if count.needs_labels:
        basis = "5 bytes a frame of MFCC at 100 Hz; of a layer at 25 Hz a quarter"
        yield Estimate("disk: labels", hours * LABEL_MB / 1e3, "GB", basis)
    kept = int(np.max(args.keep_nbest_models))
    models = len(args.best_model_criterion) * (kept + 1) + 1
    size = models * count.model + 3 * (count.model + count.optimizer)
    basis = f"{models} models (keep_nbest_models, their average, the last) and 3 "
    basis += "states (last, previous, between epochs)"
    yield Estimate("disk: checkpoints", size / 1e9, "GB", basis)


def estimate(
    args: argparse.Namespace, count: StepCount, given: Resources
) -> Iterator[Estimate]:
    """All estimates of a training run, whose utterances are taken to be equally long.

    Of a batch, GPU r of n gets utterances r, r + n, ...: the first has most, and the
    others wait for it.
    """
    seconds = count.seconds
    batch = in_a_batch(args.batch_bins, int(seconds * sampling_rate(args)), given.ngpu)
    fullest = -(-batch // given.ngpu)
    batches = args.num_iters_per_epoch or given.hours * 3600 / seconds / batch
    updates = given.updates or batches / args.accum_grad * args.max_epoch

    basis = f"the model as built; {count.trained / 1e6:.3g} million are trained"
    yield Estimate("parameters", count.parameters / 1e6, "million", basis)
    basis = f"batch_bins {args.batch_bins:,}: {batch} utterances of {seconds:g} s, "
    basis += f"{fullest} on the fullest GPU, no padding"
    yield Estimate("batch, all GPUs", batch * seconds / 60, "minutes", basis)
    basis = f"max_epoch {args.max_epoch} of {batches:,.0f} batches, accum_grad "
    basis = "--updates" if given.updates else f"{basis}{args.accum_grad}"
    yield Estimate("updates", updates, "", basis)
    if warmup := args.warmup_steps:
        basis = f"{args.scheduler}: the learning rate rises until then"
        if updates <= warmup:
            basis += f". NOT OVER at the end, {updates / warmup:.0%} of the way: "
            basis += "train longer, or lower scheduler_conf.warmup_steps"
        yield Estimate("warm-up", warmup, "updates", basis)
    yield from memory(args, count, given)
    yield from disk(args, count, given.hours)

    compute = count.flops * batch * args.accum_grad / 1e12
    yield Estimate("compute: an update", compute, "TFLOP", "counted")
    basis = "updates x an update"
    yield Estimate("compute: training", compute * updates / 1e6, "EFLOP", basis)
    peak = GPUS[given.gpu][0 if args.use_amp else 1]
    basis = f"{given.ngpu} {given.gpu} of {peak:g} TFLOP/s "
    basis += "in 16 bits (use_amp)" if args.use_amp else "in float32"
    basis += "; utilisation not measured, validation and waiting for data left out"
    compare = "each GPU; compare audio_per_sec in train.log, which is one GPU's"
    for share in given.utilisation:
        update = count.flops * fullest * args.accum_grad / (peak * 1e12 * share)
        days = update * updates / 86400
        audio = batch * args.accum_grad * seconds / given.ngpu / update
        yield Estimate(f"time at utilisation {share:g}", days, "days", basis)
        yield Estimate(f"audio a second at {share:g}", audio, "s", compare)


def estimate_config(path: str, given: Resources) -> list[Estimate]:
    """The estimates for a configuration.

    Raises:
        UserError: The configuration is impossible.
    """
    args = load_args(path, given.nbpe)
    seconds = given.seconds or args.crop or LIBRISPEECH_SECONDS
    longest = given.longest or args.crop or LONGEST_SECONDS
    count = count_step(args, seconds, given.tokens_per_second, longest)
    return list(estimate(args, count, given))
