"""What a training needs of GPUs, memory, disk and time, each with what it rests on."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espnet_a2m.errors import UserError

if TYPE_CHECKING:  # it imports ESPnet
    from espnet_a2m.step_count import StepCount


@dataclasses.dataclass(frozen=True)
class GPU:
    """A GPU as its maker describes it: dense, without sparsity.

    Attributes:
        half: Peak of its tensor cores in 16 bits, TFLOP/s.
        single: Peak in float32 without tensor cores, TFLOP/s.
        memory: GB.
    """

    half: float
    single: float
    memory: float


#: From NVIDIA's data sheets (SXM variants).
GPUS = {
    "v100": GPU(half=125, single=15.7, memory=32),
    "a100-40": GPU(half=312, single=19.5, memory=40),
    "a100": GPU(half=312, single=19.5, memory=80),
    "h100": GPU(half=989, single=67, memory=80),
    "h200": GPU(half=989, single=67, memory=141),
}
#: An assumption. Large transformers are reported at 0.3 to 0.5 of the peak; a conformer
#: of ESPnet's has narrower products and many unfused steps between them.
UTILISATION = 0.2
#: Measured, MB an hour: FLAC of LibriSpeech's dev-clean-2 (2.5 h); confidences, 25 Hz.
FLAC_MB, CONFIDENCE_MB = 67.3, 0.121
#: Measured: times real time, soundfile on one core, FLAC in memory (AMD EPYC).
READING = 4700
#: Mean length of an utterance of LibriSpeech: 960.9 h in 281,241; seconds.
LIBRISPEECH_SECONDS = 12.3


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the plan.

    Attributes:
        name: What it is.
        value: The number, in ``unit``.
        unit: Of ``value``.
        basis: What it rests on.
    """

    name: str
    value: float
    unit: str
    basis: str


@dataclasses.dataclass(frozen=True)
class Resources:
    """What the training is given.

    Attributes:
        hours: Of audio in the training set.
        gpu: Name in :data:`GPUS`.
        ngpu: Their number.
        utilisation: Share of their peak that the counted operations reach.
        updates: Of the training; None: ``max_epoch`` of the configuration.

    Raises:
        UserError: A number is out of its range.
    """

    hours: float
    gpu: str
    ngpu: int
    utilisation: float = UTILISATION
    updates: int | None = None

    def __post_init__(self) -> None:
        for option in ("hours", "ngpu", "updates"):
            value = getattr(self, option)
            if value is not None and not value > 0:
                raise UserError(f"--{option} {value}: must be above 0")
        if not 0 < self.utilisation <= 1:
            raise UserError(f"--utilisation {self.utilisation}: must be in (0, 1]")


def default_seconds(args: argparse.Namespace) -> float:
    """Length of an utterance: the crop of a pre-training, else LibriSpeech's mean."""
    crop = None
    if args.kind == "ssl":
        crop = args.collate_fn_conf.get("crop_duration", 32.0)
    return crop or LIBRISPEECH_SECONDS


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the data are spread over batches; utterances are taken to be equally long.

    Attributes:
        utterances: In a batch, of all GPUs.
        updates_per_epoch: Of ESPnet's epochs.
        updates: Of the training.
        passes: Over the data, in the training.
    """

    utterances: int
    updates_per_epoch: float
    updates: float
    passes: float


def schedule(
    args: argparse.Namespace, count: StepCount, seconds: float, given: Resources
) -> Schedule:
    """Batches as ESPnet makes them of equally long utterances.

    Raises:
        UserError: The configuration's batches are not of ``batch_type: numel``.
    """
    if args.batch_type != "numel":
        raise UserError(
            f"{args.config}: batch_type: {args.batch_type}: only numel can be planned"
        )
    utterances = max(args.batch_bins // count.samples, given.ngpu, 1)
    batch_hours = utterances * seconds / 3600
    batches = args.num_iters_per_epoch or given.hours / batch_hours
    per_epoch = batches / args.accum_grad
    updates = given.updates or per_epoch * args.max_epoch
    passes = updates * args.accum_grad * batch_hours / given.hours
    return Schedule(utterances, per_epoch, updates, passes)


def plan(
    args: argparse.Namespace, count: StepCount, seconds: float, given: Resources
) -> list[Figure]:
    """All figures of a training.

    Args:
        args: Of ``step_count.load_args``.
        count: Of one utterance.
        seconds: Its length; all are taken to be as long.
        given: What there is to train with.
    """
    batches = schedule(args, count, seconds, given)
    return [
        *_size(args, count, seconds, given, batches),
        *_memory(args, count, given, batches),
        *_disk(args, count, given),
        *_time(args, count, seconds, given, batches),
    ]


def _size(
    args: argparse.Namespace,
    count: StepCount,
    seconds: float,
    given: Resources,
    batches: Schedule,
) -> Iterator[Figure]:
    per_hour = 3600 / seconds
    counted = f"counted on {seconds:g} s of audio"
    yield Figure("parameters", count.parameters / 1e6, "million", "the model as built")
    if count.trained < count.parameters:
        trained = count.trained / 1e6
        yield Figure("  of them trained", trained, "million", "freeze_param")
    feats, frames = (
        x * per_hour * given.hours / 1e9 for x in (count.feats, count.frames)
    )
    yield Figure("frames of the front end", feats, "billion", counted)
    yield Figure("frames of the encoder", frames, "billion", counted)
    yield Figure(
        "batch, all GPUs",
        batches.utterances * seconds / 60,
        "minutes",
        f"batch_bins: {batches.utterances} utterances of {seconds:g} s, no padding",
    )
    yield Figure(
        "updates an epoch",
        batches.updates_per_epoch,
        "",
        f"accum_grad {args.accum_grad}"
        + (
            ", num_iters_per_epoch" if args.num_iters_per_epoch else ", all of the data"
        ),
    )
    how = f"max_epoch {args.max_epoch}" if given.updates is None else "--updates"
    yield Figure("updates", batches.updates, "", how)
    yield Figure("passes over the data", batches.passes, "", "updates x batch / hours")


def _memory(
    args: argparse.Namespace, count: StepCount, given: Resources, batches: Schedule
) -> Iterator[Figure]:
    per_gpu = -(-batches.utterances // given.ngpu)
    parts = {
        "parameters and buffers": (count.model, "the model as built"),
        "gradients": (count.gradients, "after a counted step"),
        f"state of {args.optim}": (count.optimizer, "after a counted step"),
        "activations": (
            count.activations * per_gpu,
            f"counted for one utterance, times {per_gpu}"
            + (", mixed precision" if args.use_amp else ", float32"),
        ),
    }
    if args.use_amp:
        copies = (count.weight_copies, "counted: what autocast casts once a batch")
        parts["half-precision weights"] = copies
    if given.ngpu > 1:
        buckets = (count.gradients, "DistributedDataParallel's copy of the gradients")
        parts["communication"] = buckets
    for name, (size, basis) in parts.items():
        yield Figure(f"memory: {name}", size / 1e9, "GB", basis)
    total = sum(size for size, _ in parts.values()) / 1e9
    memory = GPUS[given.gpu].memory
    advice = f"of {memory:g} GB; add a fifth for temporaries and fragmentation"
    if 1.2 * total > memory:
        advice += ". TOO MUCH: lower batch_bins, raise accum_grad"
    yield Figure("memory: sum, each GPU", total, "GB", advice)


def _disk(
    args: argparse.Namespace, count: StepCount, given: Resources
) -> Iterator[Figure]:
    hours = given.hours
    flac = (
        f"{FLAC_MB} MB an hour, as LibriSpeech dev-clean-2; raw 16 bits at 16 kHz: 115"
    )
    yield Figure("disk: audio", hours * FLAC_MB / 1e6, "TB", flac)
    if args.kind == "ssl":
        yield Figure(
            "disk: confidences",
            hours * CONFIDENCE_MB / 1e3,
            "GB",
            "121 kB an hour: one byte per frame at 25 Hz, measured",
        )
    kept = args.keep_nbest_models
    kept = max(kept) if isinstance(kept, list) else kept
    models = len(args.best_model_criterion) * (kept + 1) + 1
    states = 3 * (count.model + count.optimizer)
    yield Figure(
        "disk: checkpoints",
        (models * count.model + states) / 1e9,
        "GB",
        f"{models} models (keep_nbest_models, their average, the last) and 3 states "
        "(last, previous, between epochs)",
    )


def _time(
    args: argparse.Namespace,
    count: StepCount,
    seconds: float,
    given: Resources,
    batches: Schedule,
) -> Iterator[Figure]:
    update = count.flops * batches.utterances * args.accum_grad
    total = update * batches.updates
    share = f"{count.input_share:.0%} of the forward pass before the first layer"
    yield Figure("compute: an update", update / 1e12, "TFLOP", f"counted; {share}")
    one_pass = count.flops * given.hours * 3600 / seconds
    yield Figure("compute: a pass over the data", one_pass / 1e18, "EFLOP", "counted")
    yield Figure("compute: training", total / 1e18, "EFLOP", "updates x an update")
    gpu = GPUS[given.gpu]
    peak = gpu.half if args.use_amp else gpu.single
    rate = given.ngpu * peak * 1e12 * given.utilisation
    kind = "16 bits (use_amp)" if args.use_amp else "float32"
    yield Figure(
        "time",
        total / rate / 86400,
        "days",
        f"{given.ngpu} {given.gpu} of {peak:g} TFLOP/s in {kind} at utilisation "
        f"{given.utilisation:g}, an assumption; validation and waiting left out",
    )
    yield Figure("time: an update", update / rate, "s", "the same")
    audio_per_sec = rate / (count.flops / seconds)
    basis = "the same"
    if args.kind == "ssl":
        basis += "; compare audio_per_sec in train.log, which is one GPU's"
    each = audio_per_sec / given.ngpu
    yield Figure("audio a second, each GPU", each, "s", basis)
    yield Figure(
        "reading: FLAC, all GPUs",
        audio_per_sec / 3600 * FLAC_MB,
        "MB/s",
        "to keep up at that rate",
    )
    yield Figure(
        "reading: cores, each GPU",
        each / READING,
        "",
        f"to keep up: soundfile alone decodes FLAC {READING} times as fast as real "
        f"time on one core, measured; num_workers is {args.num_workers}",
    )
