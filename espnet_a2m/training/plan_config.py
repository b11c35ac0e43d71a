"""The configuration of a training that is planned: read, checked, stripped of files."""

from __future__ import annotations

import argparse
import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet2.tasks.abs_task import scheduler_classes
from espnet2.tasks.asr import ASRTask

from espnet_a2m.compat.load import check_self_contained
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.training.task import A2MTask, sampling_rate
from espnet_a2m.training.validate_config import check_config

#: Labels of HuBERT for the count: a label every 20 ms.
LABEL_STRIDE = 320


def task_of(config: Mapping[str, Any]) -> str:
    """``ssl`` or ``asr``, whichever a configuration is for."""
    return "ssl" if "loss" in config else "asr"


def load_args(path: str | Path, num_tokens: int) -> argparse.Namespace:
    """Options of a configuration, less what changes neither sizes nor operations.

    Confidences, statistics and labels need files; the first two change no size, and
    labels do not matter beyond their number of frames. Added are ``task``, ``kind``
    ("ssl" or "asr"), ``given`` (what the file itself says, others being ESPnet's
    defaults) and ``warmup_steps``.

    Args:
        path: YAML file for ``espnet_a2m.bin.ssl_train`` or ``asr_train``.
        num_tokens: Size of the vocabulary of a recogniser.

    Raises:
        UserError: It is no such file, has a part that reads further files, or numbers
            of which no training can be made.
    """
    config = load_config(path)
    name = task_of(config)
    check_config(path, name)
    check_self_contained(config, str(path))
    task: Any = {"ssl": A2MTask, "asr": ASRTask}[name]
    args = task.get_parser().parse_args(["--config", str(path), "--output_dir", "-"])
    args.task, args.kind, args.given = task, name, set(config)
    args.warmup_steps = warmup_steps(args)
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
    check_numbers(args)
    return args


def warmup_steps(args: argparse.Namespace) -> int | None:
    """Updates until the learning rate's peak; None if the scheduler has no such."""
    if args.scheduler is None:
        return None
    known = inspect.signature(scheduler_classes[args.scheduler]).parameters
    if "warmup_steps" not in known:
        return None
    return args.scheduler_conf.get("warmup_steps", known["warmup_steps"].default)


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that ESPnet takes and no training can be made of.

    Raises:
        UserError: Names the file and the option.
    """
    for name in ("batch_bins", "accum_grad", "max_epoch", "num_iters_per_epoch"):
        value = getattr(args, name)
        if value is None and name == "num_iters_per_epoch":
            continue
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{args.config}: {name}: {value}: must be at least 1")
    conf = args.encoder_conf
    width, heads = conf.get("output_size"), conf.get("attention_heads")
    if (
        isinstance(width, int)
        and isinstance(heads, int)
        and (heads < 1 or width % heads)
    ):
        raise UserError(
            f"{args.config}: encoder_conf: output_size {width} is no multiple of "
            f"attention_heads {heads}"
        )


@contextlib.contextmanager
def naming_config(args: argparse.Namespace, what: str) -> Iterator[None]:
    """Have whatever a model objects to name the configuration.

    ESPnet checks its options by assertions and torch by what it cannot multiply.

    Raises:
        UserError: In place of any error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise UserError(
            f"{args.config}: {what}: {kind}{reason}. Correct or complete its options"
        ) from error
