"""What a training needs of GPUs, memory, disk and time, each with what it rests on."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espnet_a2m.training.plan_resources import Resources, Schedule, schedule

if TYPE_CHECKING:  # it imports ESPnet
    from espnet_a2m.training.step_count import StepCount

#: Measured, times real time: what a CPU second (AMD EPYC) of ESPnet's data loader reads
#: of FLAC.
READING = 3200
#: Measured, MB an hour: FLAC of LibriSpeech's dev-clean-2 (2.5 h).
FLAC_MB = 67.3


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the plan.

    Attributes:
        name: What it is.
        value: The number, in ``unit``; the least, if it is a range.
        unit: Of ``value``.
        basis: What it rests on.
        most: The range's other end; None: it is none.
    """

    name: str
    value: float
    unit: str
    basis: str
    most: float | None = None

    def __str__(self) -> str:
        """As a line of text: three digits, of a range two."""
        shown = number(self.value, 3)
        if self.most is not None:
            shown = f"{number(self.value, 2)}-{number(self.most, 2)}"
        return f"{self.name:<31}{shown:>13} {self.unit:<8} {self.basis}"


def number(value: float, digits: int) -> str:
    """Rounded to so many digits; whole from 1,000 on, with separators."""
    rounded = float(f"{value:.{digits}g}")
    if digits < 3 and rounded >= 10:
        return f"{rounded:,.0f}"
    return f"{value:,.0f}" if value >= 1000 else f"{rounded:.{digits}g}"


def duration(
    name: str, unit: str, given: Resources, at_full: float, basis: str
) -> Figure:
    """A time, from what it is at a utilisation of 1, over the range of utilisation."""
    low, high = given.utilisation
    most = None if low == high else at_full / low
    return Figure(name, at_full / high, unit, basis, most)


def utilisation_basis(given: Resources) -> str:
    """In words."""
    low, high = given.utilisation
    if low == high:
        return f"at utilisation {low:g}, as given"
    return f"at utilisation {low:g} to {high:g}, an assumption"


def of_espnet(args: argparse.Namespace, option: str) -> str:
    """Says so where a configuration leaves an option to ESPnet."""
    return "" if option in args.given else " (ESPnet's default)"


def plan(
    args: argparse.Namespace,
    count: StepCount,
    seconds: float,
    given: Resources,
    scoring: tuple[str, float] | None = None,
) -> list[Figure]:
    """All figures of a training.

    Args:
        args: Of ``plan_config.load_args``.
        count: Of one utterance.
        seconds: Its length; all are taken to be as long.
        given: What there is to train with.
        scoring: Name of a scorer's configuration, and operations for a second of
            audio; None: scoring is not planned.

    Raises:
        UserError: The configuration's batches cannot be planned.
    """
    from espnet_a2m.training.plan_pipeline import before, disk

    batches = schedule(args, count, seconds, given)
    return [
        *_size(args, count, seconds, given, batches),
        *_memory(args, count, seconds, given, batches),
        *disk(args, count, given),
        *before(args, given, scoring),
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
        f"batch_bins {args.batch_bins:,}{of_espnet(args, 'batch_bins')}: "
        f"{batches.utterances} utterances of {seconds:g} s, {batches.fullest} on the "
        "fullest GPU, no padding",
    )
    yield Figure(
        "updates an epoch",
        batches.updates_per_epoch,
        "",
        f"accum_grad {args.accum_grad}{of_espnet(args, 'accum_grad')}"
        + (
            ", num_iters_per_epoch" if args.num_iters_per_epoch else ", all of the data"
        ),
    )
    how = f"max_epoch {args.max_epoch}{of_espnet(args, 'max_epoch')}"
    if given.updates is not None:
        how = "--updates"
    yield Figure("updates", batches.updates, "", how)
    if args.warmup_steps is not None:
        yield Figure("warm-up", args.warmup_steps, "updates", _warmup(args, batches))
    yield Figure("passes over the data", batches.passes, "", "updates x batch / hours")


def _warmup(args: argparse.Namespace, batches: Schedule) -> str:
    peak = args.optim_conf.get("lr")
    said = f"{args.scheduler}: the learning rate rises until then"
    if peak is not None:
        said += f", to {peak:g}"
    if batches.updates > args.warmup_steps:
        return said
    reached = batches.updates / args.warmup_steps
    return (
        f"{said}. NOT OVER at the end, {reached:.0%} of the way: train longer, or "
        "lower scheduler_conf.warmup_steps"
    )


def _memory(
    args: argparse.Namespace,
    count: StepCount,
    seconds: float,
    given: Resources,
    batches: Schedule,
) -> Iterator[Figure]:
    longest = count.longest_samples / count.samples * seconds
    # the fewer of the longest may keep more, an attention's or a transducer's squares
    activations, fullest, length = max(
        (count.activations * batches.fullest, batches.fullest, seconds),
        (
            count.longest_activations * batches.fullest_of_longest,
            batches.fullest_of_longest,
            longest,
        ),
    )
    parts = {
        "parameters and buffers": (count.model, "the model as built"),
        "gradients": (count.gradients, "after a counted step"),
        f"state of {args.optim}": (count.optimizer, "after a counted step"),
        "activations": (
            activations,
            f"counted for {length:g} s, times {fullest}"
            + (", mixed precision" if args.use_amp else ", float32")
            + (f"; more than a batch of {seconds:g} s" if length > seconds else ""),
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
    memory = given.device.memory
    advice = f"of {memory:g} GB; add a fifth for temporaries and fragmentation"
    if 1.2 * total > memory:
        advice += ". TOO MUCH: lower batch_bins, raise accum_grad"
    yield Figure("memory: sum, each GPU", total, "GB", advice)


def _time(
    args: argparse.Namespace,
    count: StepCount,
    seconds: float,
    given: Resources,
    batches: Schedule,
) -> Iterator[Figure]:
    update = count.flops * batches.utterances * args.accum_grad
    share = f"{count.input_share:.0%} of the forward pass before the first layer"
    yield Figure("compute: an update", update / 1e12, "TFLOP", f"counted; {share}")
    one_pass = count.flops * given.hours * 3600 / seconds
    yield Figure("compute: a pass over the data", one_pass / 1e18, "EFLOP", "counted")
    total = update * batches.updates
    yield Figure("compute: training", total / 1e18, "EFLOP", "updates x an update")
    peak = given.device.half if args.use_amp else given.device.single
    kind = "16 bits (use_amp)" if args.use_amp else "float32"
    # all wait for the GPU that has most of the batch
    busy = count.flops * batches.fullest * args.accum_grad / (peak * 1e12)
    yield duration(
        "time",
        "days",
        given,
        busy * batches.updates / 86400,
        f"{given.ngpu} {given.gpu} of {peak:g} TFLOP/s in {kind} "
        f"{utilisation_basis(given)}; validation and waiting for data left out",
    )
    yield duration("time: an update", "s", given, busy, "the same, on the fullest GPU")
    basis = "the same"
    if args.kind == "ssl":
        basis += "; compare audio_per_sec in train.log, which is one GPU's"
    audio = batches.utterances * args.accum_grad * seconds / given.ngpu
    low, high = given.utilisation
    slow, fast = (audio / busy * x for x in (low, high))
    most = None if low == high else fast
    yield Figure("audio a second, each GPU", slow, "s", basis, most)
    for name, unit, factor, basis in (
        (
            "reading: FLAC, all GPUs",
            "MB/s",
            given.ngpu / 3600 * FLAC_MB,
            "to keep up at that rate",
        ),
        (
            "reading: cores, each GPU",
            "",
            1 / READING,
            f"to keep up: ESPnet's data loader reads FLAC {READING:,} times as fast as "
            f"real time on an AMD EPYC core, measured; num_workers {args.num_workers}",
        ),
    ):
        most = None if low == high else fast * factor
        yield Figure(name, slow * factor, unit, basis, most)
