"""What a training run needs of GPUs, memory, disk and days, before it starts."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet2.tasks.abs_task import scheduler_classes

from espnet_a2m.compat.load import check_self_contained
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.training.asr_task import A2MASRTask
from espnet_a2m.training.step_count import LABEL_STRIDE, StepCount, count_step
from espnet_a2m.training.task import A2MTask, sampling_rate
from espnet_a2m.training.validate_config import check_config

#: NVIDIA's dense peaks in 16 bits and in float32 without TF32, TFLOP/s; memory, GB.
GPUS = {
    "v100": (125.0, 15.7, 32.0),
    "a100-40": (312.0, 19.5, 40.0),
    "a100": (312.0, 19.5, 80.0),
    "h100": (989.0, 67.0, 80.0),
    "h200": (989.0, 67.0, 141.0),
}
#: Mean length of LibriSpeech's 281,241 utterances (960.9 h); where the recipes cut.
LIBRISPEECH_SECONDS, LONGEST_SECONDS = 12.3, 32.0
#: MB an hour: FLAC, as of LibriSpeech's dev-clean-2; confidences, a byte each at 25 Hz;
#: labels, 5 bytes each (an archive's vector of int32) at MFCC's 100 Hz.
FLAC_MB, CONFIDENCE_MB, LABEL_MB = 67.3, 0.121, 5 * 100 * 3600 / 1e6


def check_number(name: str, value: Any, least: float = 0) -> None:
    """Refuse what is not None and no finite number above 0 and at least ``least``."""
    is_number = isinstance(value, int | float)
    if value is not None and not (
        is_number and value > 0 and least <= value < math.inf
    ):
        limit = f"at least {least}" if least else "above 0"
        raise UserError(f"{name} {value}: must be {limit} and finite")


@dataclasses.dataclass(frozen=True)
class Resources:
    """Data and GPUs of a training run, as the options of ``bin.plan`` give them."""

    hours: float  # audio in the training set
    gpu: str = "a100"  # a name of GPUS, or any other with tflops and gpu_memory
    ngpu: int = 8  # of all machines together
    utilisation: Sequence[float] = (0.1, 0.3)  # share of the peak, from and to, or one
    updates: int | None = None  # None: from the configuration's max_epoch
    tflops: Sequence[float] | None = None  # peaks in 16 bits and in float32
    gpu_memory: float | None = None  # GB
    seconds: float | None = None  # of an utterance; None: the crop, or LibriSpeech's
    longest: float | None = None  # of the longest; None: the crop, or the recipes'
    nbpe: int = 1024  # vocabulary of a recogniser
    tokens_per_second: float = 4.0  # of its transcripts

    def __post_init__(self) -> None:
        least = {"seconds": 1, "longest": 1, "nbpe": 4}
        for name, value in vars(self).items():
            for x in value if isinstance(value, tuple | list) else (value,):
                if name != "gpu":
                    check_number(f"--{name}", x, least.get(name, 0))
        low, high = self.utilisation[0], self.utilisation[-1]
        if len(self.utilisation) > 2 or not low <= high <= 1:
            given = " ".join(map(str, self.utilisation))
            raise UserError(f"--utilisation {given}: one number in (0, 1], or from, to")
        if self.gpu not in GPUS and not (self.tflops and self.gpu_memory):
            raise UserError(
                f"--gpu {self.gpu}: known are {', '.join(GPUS)}; for any other give "
                "--tflops HALF SINGLE, its maker's dense peaks in 16 bits and in "
                "float32, and --gpu_memory GB"
            )


def task_of(config: Mapping[str, Any]) -> str:
    """The task that a configuration is for, ``ssl`` or ``asr``."""
    return "ssl" if "loss" in config else "asr"


def load_args(path: str | Path, num_tokens: int) -> argparse.Namespace:
    """Options of a configuration, without those that need files: they change no size.

    Added are ``task``, ``kind`` (of :func:`task_of`), ``given`` (the file's own keys),
    ``warmup_steps`` and ``crop`` (seconds), which may be None.

    Args:
        path: YAML file for ``espnet_a2m.bin.ssl_train`` or ``asr_train``.
        num_tokens: Vocabulary of a recogniser.

    Raises:
        UserError: It is no such file, reads further files, or has impossible numbers.
    """
    config = load_config(path)
    kind = task_of(config)
    check_config(path, kind)
    check_self_contained(config, str(path))
    task: Any = {"ssl": A2MTask, "asr": A2MASRTask}[kind]
    args = task.get_parser().parse_args(["--config", str(path), "--output_dir", "-"])
    args.task, args.kind, args.given = task, kind, set(config)
    args.normalize = args.crop = args.warmup_steps = None
    if kind == "ssl":
        args.crop = args.collate_fn_conf.get("crop_duration", 32.0)
        args.masking_conf = {**args.masking_conf, "guidance": "uniform"}
        args.model_conf = {**args.model_conf, "utterance_weight": "none"}
        fs = sampling_rate(args)
        args.label_grid = {"fs": fs, "offset": 0.0, "stride": LABEL_STRIDE}
    else:
        pieces = [f"piece{i}" for i in range(num_tokens - 3)]
        args.token_list = ["<blank>", "<unk>", *pieces, "<sos/eos>"]
        args.specaug = None  # the widths of its masks depend on numbers
    if args.scheduler is not None:
        known = inspect.signature(scheduler_classes[args.scheduler]).parameters
        if warmup := known.get("warmup_steps"):
            args.warmup_steps = args.scheduler_conf.get(warmup.name, warmup.default)
    for name in ("batch_bins", "accum_grad", "max_epoch", "num_iters_per_epoch"):
        check_number(f"{path}: {name}:", getattr(args, name), 1)
    check_number(f"{path}: collate_fn_conf: crop_duration:", args.crop, 1)
    return args


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number, or a range from ``value`` to ``most``, and what it rests on."""

    name: str
    value: float
    unit: str
    basis: str
    most: float | None = None

    def __str__(self) -> str:
        shown = number(self.value, 3)
        if self.most is not None:
            shown = f"{number(self.value, 2)}-{number(self.most, 2)}"
        return f"{self.name:<31}{shown:>13} {self.unit:<8} {self.basis}"


def number(value: float, digits: int) -> str:
    """Rounded to so many digits; with three, an integer in full from 1,000 on."""
    full = value >= 1000 and digits == 3
    return f"{value:,.0f}" if full else f"{float(f'{value:.{digits}g}'):,.6g}"


def in_a_batch(batch_bins: int, samples: int, ngpu: int) -> int:
    """Utterances of a batch, of all GPUs.

    ESPnet ends it as soon as it is *above* ``batch_bins`` and each GPU has one.
    """
    return max(batch_bins // samples + 1, ngpu)


class TrainingRun:
    """The estimates of a training run, whose utterances are taken to be equally long.

    Of a batch, GPU r of n gets utterances r, r + n, ...: the first has most, and the
    others wait for it.

    Args:
        args: Of :func:`load_args`.
        count: Of one utterance.
        resources: Data and GPUs.

    Raises:
        UserError: The configuration's batches cannot be planned.
    """

    def __init__(
        self, args: argparse.Namespace, count: StepCount, resources: Resources
    ):
        if args.batch_type != "numel":
            what = f"{args.config}: batch_type: {args.batch_type}"
            raise UserError(f"{what}: only numel can be planned")
        self.args, self.count, self.resources = args, count, resources
        self.batch, longest = (
            in_a_batch(args.batch_bins, int(x * sampling_rate(args)), resources.ngpu)
            for x in (count.seconds, count.longest)
        )
        self.fullest = -(-self.batch // resources.ngpu)  # on the GPU that has most
        self.fullest_of_longest = -(-longest // resources.ngpu)
        self.utterances = resources.hours * 3600 / count.seconds
        batches = args.num_iters_per_epoch or self.utterances / self.batch
        self.updates_per_epoch = batches / args.accum_grad
        self.updates = resources.updates or self.updates_per_epoch * args.max_epoch
        self.precision = "16 bits (use_amp)" if args.use_amp else "float32"
        half, single, memory = GPUS.get(resources.gpu, (0.0, 0.0, 0.0))
        half, single = resources.tflops or (half, single)
        self.peak = half if args.use_amp else single  # TFLOP/s
        self.gpu_memory = resources.gpu_memory or memory

    def option(self, name: str) -> str:
        default = "" if name in self.args.given else " (ESPnet's default)"
        return f"{name} {getattr(self.args, name):,}{default}"

    def size(self) -> Iterator[Estimate]:
        args, count, updates = self.args, self.count, self.updates
        counted = f"counted on {count.seconds:g} s of audio"
        parameters, trained = count.parameters / 1e6, count.trained / 1e6
        yield Estimate("parameters", parameters, "million", "the model as built")
        if trained < parameters:
            yield Estimate("  of them trained", trained, "million", "freeze_param")
        feats, frames = (x * self.utterances / 1e9 for x in (count.feats, count.frames))
        yield Estimate("frames of the front end", feats, "billion", counted)
        yield Estimate("frames of the encoder", frames, "billion", counted)
        basis = f"{self.option('batch_bins')}: {self.batch} utterances of "
        basis += f"{count.seconds:g} s, {self.fullest} on the fullest GPU, no padding"
        minutes = self.batch * count.seconds / 60
        yield Estimate("batch, all GPUs", minutes, "minutes", basis)
        basis = "num_iters_per_epoch" if args.num_iters_per_epoch else "all of the data"
        basis = f"{self.option('accum_grad')}, {basis}"
        yield Estimate("updates an epoch", self.updates_per_epoch, "", basis)
        basis = "--updates" if self.resources.updates else self.option("max_epoch")
        yield Estimate("updates", updates, "", basis)
        if warmup := args.warmup_steps:
            basis = f"{args.scheduler}: the learning rate rises until then"
            if updates <= warmup:
                basis += f". NOT OVER at the end, {updates / warmup:.0%} of the way: "
                basis += "train longer, or lower scheduler_conf.warmup_steps"
            yield Estimate("warm-up", warmup, "updates", basis)
        passes = updates * args.accum_grad * self.batch / self.utterances
        yield Estimate("passes over the data", passes, "", "updates x batch / hours")

    def memory(self) -> Iterator[Estimate]:
        count, times = self.count, self.fullest_of_longest
        counted = f"counted for {count.longest:g} s, times {times}, {self.precision}"
        parts = [
            ("parameters and buffers", count.model, "the model as built"),
            ("gradients", count.gradients, "after a counted step"),
            (f"state of {self.args.optim}", count.optimizer, "after a counted step"),
            ("activations", count.activations * times, counted),
        ]
        if self.args.use_amp:
            basis = "counted: what autocast casts once a batch"
            parts.append(("half-precision weights", count.weight_copies, basis))
        if self.resources.ngpu > 1:
            basis = "DistributedDataParallel's copy of the gradients"
            parts.append(("communication", count.gradients, basis))
        for name, size, basis in parts:
            yield Estimate(f"memory: {name}", size / 1e9, "GB", basis)
        total, most = sum(size for _, size, _ in parts) / 1e9, self.gpu_memory
        basis = f"of {most:g} GB; add a fifth for temporaries and fragmentation"
        if 1.2 * total > most:
            basis += ". TOO MUCH: lower batch_bins, raise accum_grad"
        yield Estimate("memory: sum, each GPU", total, "GB", basis)

    def disk(self) -> Iterator[Estimate]:
        args, count, hours = self.args, self.count, self.resources.hours
        basis = f"{FLAC_MB} MB an hour, as FLAC of LibriSpeech; its source not included"
        yield Estimate("disk: audio", hours * FLAC_MB / 1e6, "TB", basis)
        if args.kind == "ssl":
            size, basis = hours * CONFIDENCE_MB / 1e3, "one byte a frame at 25 Hz"
            yield Estimate("disk: confidences", size, "GB", basis)
        if count.needs_labels:
            basis = "5 bytes a frame of MFCC at 100 Hz; of a layer at 25 Hz a quarter"
            yield Estimate("disk: labels", hours * LABEL_MB / 1e3, "GB", basis)
        kept = args.keep_nbest_models
        kept = max(kept) if isinstance(kept, list) else kept
        models = len(args.best_model_criterion) * (kept + 1) + 1
        size = models * count.model + 3 * (count.model + count.optimizer)
        basis = f"{models} models (keep_nbest_models, their average, the last) and 3 "
        basis += "states (last, previous, between epochs)"
        yield Estimate("disk: checkpoints", size / 1e9, "GB", basis)

    def time(self) -> Iterator[Estimate]:
        given, accum_grad = self.resources, self.args.accum_grad
        update = self.count.flops * self.batch * accum_grad / 1e12
        yield Estimate("compute: an update", update, "TFLOP", "counted")
        one_pass = self.count.flops * self.utterances / 1e18
        yield Estimate("compute: a pass over the data", one_pass, "EFLOP", "counted")
        total = update * self.updates / 1e6
        yield Estimate("compute: training", total, "EFLOP", "updates x an update")
        low, high = given.utilisation[0], given.utilisation[-1]
        share = f"{low:g}, as given" if low == high else f"{low:g} to {high:g}, assumed"
        basis = f"{given.ngpu} {given.gpu} of {self.peak:g} TFLOP/s in {self.precision}"
        basis += f" at utilisation {share}; validation and waiting for data left out"
        # at a utilisation of 1
        seconds = self.count.flops * self.fullest * accum_grad / (self.peak * 1e12)
        days = seconds * self.updates / 86400
        audio = self.batch * accum_grad * self.count.seconds / given.ngpu / seconds
        compare = "the same; compare audio_per_sec in train.log, which is one GPU's"
        for name, least, most, unit, why in (
            ("time", days / high, days / low, "days", basis),
            ("time: an update", seconds / high, seconds / low, "s", "the fullest GPU"),
            ("audio a second, each GPU", audio * low, audio * high, "s", compare),
        ):
            yield Estimate(name, least, unit, why, None if low == high else most)


def estimate(
    args: argparse.Namespace, count: StepCount, resources: Resources
) -> list[Estimate]:
    """All estimates of a :class:`TrainingRun`."""
    run = TrainingRun(args, count, resources)
    return [*run.size(), *run.memory(), *run.disk(), *run.time()]


def estimate_config(path: str, resources: Resources) -> list[Estimate]:
    """The estimates for a configuration.

    Raises:
        UserError: The configuration or the lengths of utterances are impossible.
    """
    args = load_args(path, resources.nbpe)
    seconds = resources.seconds or args.crop or LIBRISPEECH_SECONDS
    longest = resources.longest or max(seconds, args.crop or LONGEST_SECONDS)
    if longest < seconds:
        raise UserError(f"--longest {longest:g}: must be at least {seconds:g} seconds")
    count = count_step(args, seconds, resources.tokens_per_second, longest)
    return estimate(args, count, resources)
