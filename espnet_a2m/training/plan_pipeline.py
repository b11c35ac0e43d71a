"""What a pipeline needs around the training itself: disk, and the passes before it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from espnet_a2m.training.plan import (
    FLAC_MB,
    READING,
    Figure,
    duration,
    utilisation_basis,
)
from espnet_a2m.training.plan_resources import Resources

if TYPE_CHECKING:  # it imports ESPnet
    from espnet_a2m.training.step_count import StepCount

#: Measured, MB an hour: confidences, a byte a frame, 25 frames a second.
CONFIDENCE_MB = 0.121
#: MB an hour of labels: an archive's vector of int32 has 5 bytes a number (as
#: ``kaldi_ark.entry_bytes`` reads them), MFCC 100 frames a second.
LABEL_MB = 5 * 100 * 3600 / 1e6
#: Measured on an AMD EPYC, times real time: ESPnet's statistics of stage 10 on two
#: threads; labels of stage 9 on one, MFCC and 1,024 clusters.
STATISTICS, LABELLING = 1176, 800
#: The driver's --stats_hours.
STATISTICS_HOURS = 100


def predicts_labels(args: argparse.Namespace) -> bool:
    """Does a pre-training need the labels of stage 9?"""
    return args.kind == "ssl" and any(x["name"] == "hubert" for x in args.loss)


def disk(
    args: argparse.Namespace, count: StepCount, given: Resources
) -> Iterator[Figure]:
    """What a training keeps on disk.

    Args:
        args: Of ``plan_config.load_args``.
        count: Of one utterance.
        given: For its hours.
    """
    hours = given.hours
    flac = f"{FLAC_MB} MB an hour, as FLAC of LibriSpeech dev-clean-2"
    yield Figure(
        "disk: audio",
        hours * FLAC_MB / 1e6,
        "TB",
        f"{flac}; raw 16 bits at 16 kHz: 115",
    )
    if args.kind == "ssl":
        yield Figure(
            "disk: original corpus",
            hours * FLAC_MB / 1e6,
            "TB",
            "taken to be as large; stage 3 writes the above beside it",
        )
        yield Figure(
            "disk: confidences",
            hours * CONFIDENCE_MB / 1e3,
            "GB",
            "121 kB an hour: one byte per frame at 25 Hz, measured",
        )
    if predicts_labels(args):
        yield Figure(
            "disk: labels",
            hours * LABEL_MB / 1e3,
            "GB",
            "5 bytes per frame of MFCC at 100 Hz; of a layer at 25 Hz a quarter",
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


def before(
    args: argparse.Namespace, given: Resources, scoring: tuple[str, float] | None
) -> Iterator[Figure]:
    """Passes over the data that come before a pre-training.

    Args:
        args: Of ``plan_config.load_args``.
        given: What there is to train with.
        scoring: As of :func:`~espnet_a2m.training.plan.plan`.
    """
    if args.kind != "ssl":
        return
    days = given.hours / 24
    if scoring is not None:
        name, flops = scoring
        peak = given.device.single
        seconds = flops * given.hours * 3600 / (given.ngpu * peak * 1e12)
        yield duration(
            "before: scoring (stage 8)",
            "days",
            given,
            seconds / 86400,
            f"{name}: {flops / 1e9:.3g} GFLOP a second of audio forwards, counted; "
            f"{given.ngpu} {given.gpu} of {peak:g} TFLOP/s in float32 without TF32, a "
            f"job each, {utilisation_basis(given)}",
        )
    if predicts_labels(args):
        yield Figure(
            "before: labels (stage 9)",
            days / LABELLING,
            "core days",
            f"MFCC and 1,024 clusters {LABELLING} times as fast as real time on one "
            "AMD EPYC core, measured; --scoring_nj divides it; fitting on 100 hours "
            "(--km_hours) left out",
        )
    yield Figure(
        "before: statistics (stage 10)",
        min(given.hours, STATISTICS_HOURS) / STATISTICS * 60,
        "minutes",
        f"of {min(given.hours, STATISTICS_HOURS):g} hours drawn at random "
        f"(--stats_hours), {STATISTICS:,} times as fast as real time on two threads of "
        "an AMD EPYC, measured",
    )
    yield Figure(
        "before: reading, each pass",
        days / READING,
        "core days",
        f"FLAC {READING:,} times as fast as real time on an AMD EPYC core, measured: "
        "scoring's, too; formatting (stage 3) also writes, which was not measured",
    )
