"""What a training is given, GPUs and data, and how ESPnet makes batches of it."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import UserError

if TYPE_CHECKING:  # it imports ESPnet
    from espnet_a2m.training.step_count import StepCount


@dataclasses.dataclass(frozen=True)
class GPU:
    """A GPU as its maker describes it: dense, without sparsity.

    Attributes:
        half: Peak of its tensor cores in 16 bits, TFLOP/s.
        single: Peak in float32 without tensor cores (TF32), TFLOP/s.
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
#: An assumption, from and to. Large transformers are reported at 0.3 to 0.5 of the
#: peak; a conformer of ESPnet's has narrower products and many unfused steps between.
UTILISATION = (0.1, 0.3)
#: Mean length of an utterance of LibriSpeech: 960.9 h in 281,241; seconds.
LIBRISPEECH_SECONDS = 12.3
#: Where the recipes cut: ``max_wav_duration`` and the paper's crop; seconds.
LONGEST_SECONDS = 32.0


def check_positive(option: str, value: float) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        UserError: Names the option.
    """
    if not value > 0 or math.isinf(value):
        raise UserError(f"--{option} {value}: must be above 0 and finite")


@dataclasses.dataclass(frozen=True)
class Resources:
    """What the training is given.

    Attributes:
        hours: Of audio in the training set.
        gpu: Name, in :data:`GPUS` or with ``tflops`` and ``gpu_memory``.
        ngpu: Their number.
        utilisation: Share of their peak that the counted operations reach, at least
            and at most; twice the same if it was measured.
        updates: Of the training; None: ``max_epoch`` of the configuration.
        tflops: Peaks in 16 bits and in float32, TFLOP/s; None: those of :data:`GPUS`.
        gpu_memory: GB; None: that of :data:`GPUS`.

    Raises:
        UserError: A number is out of its range, or nothing is known of the GPU.
    """

    hours: float
    gpu: str
    ngpu: int
    utilisation: tuple[float, float] = UTILISATION
    updates: int | None = None
    tflops: tuple[float, float] | None = None
    gpu_memory: float | None = None

    def __post_init__(self) -> None:
        for option in ("hours", "ngpu", "updates", "gpu_memory"):
            value = getattr(self, option)
            if value is not None:
                check_positive(option, value)
        for value in self.tflops or ():
            check_positive("tflops", value)
        for value in self.utilisation:
            if not 0 < value <= 1:
                raise UserError(f"--utilisation {value}: must be in (0, 1]")
        if self.utilisation[0] > self.utilisation[1]:
            raise UserError("--utilisation {} {}: from, to".format(*self.utilisation))
        if self.gpu not in GPUS and not (self.tflops and self.gpu_memory):
            raise UserError(
                f"--gpu {self.gpu}: known are {', '.join(GPUS)}; for any other give "
                "--tflops HALF SINGLE, its maker's dense peaks in 16 bits and in "
                "float32, and --gpu_memory GB"
            )

    @property
    def device(self) -> GPU:
        """One of the GPUs."""
        known = GPUS.get(self.gpu, GPU(0, 0, 0))
        half, single = self.tflops or (known.half, known.single)
        return GPU(half, single, self.gpu_memory or known.memory)


def default_seconds(args: argparse.Namespace) -> float:
    """Length of an utterance: the crop of a pre-training, else LibriSpeech's mean."""
    return crop_of(args) or LIBRISPEECH_SECONDS


def default_longest(args: argparse.Namespace) -> float:
    """Length of the longest: the crop of a pre-training, else where recipes cut."""
    return crop_of(args) or LONGEST_SECONDS


def crop_of(args: argparse.Namespace) -> float | None:
    """``crop_duration`` of a pre-training, seconds; None: it is not cropped."""
    if args.kind != "ssl":
        return None
    crop = args.collate_fn_conf.get("crop_duration", 32.0)
    if crop is not None and not (isinstance(crop, int | float) and 0 < crop < math.inf):
        raise UserError(
            f"{args.config}: collate_fn_conf: crop_duration: {crop}: must be seconds "
            "above 0, or null"
        )
    return crop


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the data are spread over batches; utterances are taken to be equally long.

    Attributes:
        utterances: In a batch, of all GPUs.
        fullest: Utterances of a batch on the GPU that has most.
        fullest_of_longest: The same where all are as long as the longest.
        updates_per_epoch: Of ESPnet's epochs.
        updates: Of the training.
        passes: Over the data, in the training.
    """

    utterances: int
    fullest: int
    fullest_of_longest: int
    updates_per_epoch: float
    updates: float
    passes: float


def in_a_batch(batch_bins: int, samples: int, ngpu: int) -> int:
    """Utterances of a batch, of all GPUs.

    ESPnet ends a batch as soon as it is *above* ``batch_bins``, and not before each GPU
    has one.
    """
    return max(batch_bins // samples + 1, ngpu)


def schedule(
    args: argparse.Namespace, count: StepCount, seconds: float, given: Resources
) -> Schedule:
    """Batches as ESPnet makes them of equally long utterances.

    Of a batch, GPU r of n gets utterances r, r + n, r + 2n, ...: the first has most,
    and the others wait for it.

    Args:
        args: Of ``load_args``.
        count: Of one utterance.
        seconds: Its length.
        given: What there is to train with.

    Raises:
        UserError: The configuration's batches are not of ``batch_type: numel``.
    """
    if args.batch_type != "numel":
        raise UserError(
            f"{args.config}: batch_type: {args.batch_type}: only numel can be planned"
        )
    utterances = in_a_batch(args.batch_bins, count.samples, given.ngpu)
    longest = in_a_batch(args.batch_bins, count.longest_samples, given.ngpu)
    batch_hours = utterances * seconds / 3600
    batches = args.num_iters_per_epoch or given.hours / batch_hours
    per_epoch = batches / args.accum_grad
    updates = given.updates or per_epoch * args.max_epoch
    passes = updates * args.accum_grad * batch_hours / given.hours
    return Schedule(
        utterances,
        -(-utterances // given.ngpu),
        -(-longest // given.ngpu),
        per_epoch,
        updates,
        passes,
    )
