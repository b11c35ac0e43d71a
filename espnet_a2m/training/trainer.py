"""ESPnet's trainer, made to survive kills, full disks and collapses."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet_a2m.training.accumulation import weighted_accumulation
from espnet_a2m.training.checkpoint import (
    BACKUP,
    CHECKPOINT,
    UPDATE,
    cannot_write,
    copy_whole,
    is_whole,
    repair,
)
from espnet_a2m.training.monitor import Watch, WatchOptions
from espnet_a2m.training.steps import Steps, Throughput, without_first
from espnet_a2m.training.update_checkpoint import UpdateCheckpoint, set_random_state


@dataclasses.dataclass(kw_only=True)
class SafeTrainerOptions(TrainerOptions):
    """ESPnet's options and ours.

    Attributes:
        save_interval_updates: Updates between two saved states; 0: only at the end of
            an epoch.
        watch: What a training is stopped for.
        in_a_row: What :class:`Watch` counts from epoch to epoch.
    """

    save_interval_updates: int
    watch: WatchOptions
    in_a_row: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"nonfinite": 0, "collapsed": 0}
    )


class SafeTrainer(Trainer):
    """Trainer of any ESPnet task that loses little to a kill and stops when it must."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Options beside those that every ESPnet training has."""
        group = parser.add_argument_group("Safety related")
        group.add_argument(
            "--save_interval_updates",
            type=int,
            default=1000,
            help="Save the whole state every so many updates, beside the end of each "
            "epoch; a killed training goes on from there. 0: epochs only",
        )
        group.add_argument(
            "--watch_conf",
            action=NestedDictAction,
            default=dict(),
            help="When to warn of a collapse or divergence and when to stop: "
            "window, start, min_code_perplexity, min_prob_perplexity, min_acc_gain, "
            "max_collapsed, max_nonfinite (espnet_a2m/training/monitor.py)",
        )

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> SafeTrainerOptions:
        """Take the options out of ``args``."""
        watch = WatchOptions.from_conf(args.watch_conf)
        if off := [k for k, value in vars(watch).items() if value is None]:
            logging.warning(f"watch_conf: off: {', '.join(off)}")
        stock = build_dataclass(TrainerOptions, args)
        return SafeTrainerOptions(
            **vars(stock), save_interval_updates=args.save_interval_updates, watch=watch
        )

    @classmethod
    def run(
        cls,
        model: torch.nn.Module,
        trainer_options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> None:
        """Train all epochs, from the last whole state on.

        Raises:
            UserError: The disk is full, or the training makes no sense any more.
        """
        output_dir = Path(trainer_options.output_dir)
        if distributed_option.dist_rank in (None, 0):
            if trainer_options.resume:
                repair(output_dir)
            else:
                (output_dir / UPDATE).unlink(missing_ok=True)
        if distributed_option.distributed:
            torch.distributed.barrier()  # nobody resumes before it is repaired
        try:
            super().run(
                model=model,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **kwargs,
            )
        except RuntimeError as e:
            if "PytorchStreamWriter" not in str(e):  # torch.save's, at a full disk
                raise
            raise cannot_write(output_dir, e) from e

    @classmethod
    def train_one_epoch(
        cls,
        model: torch.nn.Module,
        iterator: Iterable,
        optimizers: Any,
        schedulers: Any,
        scaler: Any,
        reporter: SubReporter,
        options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> bool:
        """Train one epoch, or what is left of it, with random numbers of its own."""
        rank = distributed_option.dist_rank or 0
        output_dir = Path(options.output_dir)
        checkpoint = output_dir / CHECKPOINT
        if rank == 0 and is_whole(checkpoint):
            # ESPnet writes checkpoint.pth in place: keep the last whole one
            copy_whole(checkpoint, output_dir / BACKUP)
        # ESPnet seeds every process alike, which would repeat masks
        set_all_random_seed(options.seed + reporter.get_epoch() + 1000 * rank)
        for optimizer in optimizers:
            optimizer.zero_grad()  # of batches that were no full update any more
        inner: Any = getattr(model, "module", model)  # inside DDP or not
        length = len(iterator) if isinstance(iterator, Sized) else None
        state = UpdateCheckpoint(
            output_dir, inner, optimizers, schedulers, scaler, reporter, length
        )
        resumed = state.restore() if options.resume else None

        def nothing_learnt() -> bool:
            # ESPnet's trainer reports the norm of a gradient that it makes a step with
            return "grad_norm" not in reporter.stats

        if resumed and resumed.finished:
            set_random_state(resumed.random_state)
            return nothing_learnt()

        def begin() -> None:
            if resumed:
                set_random_state(resumed.random_state)

        def save(*_: Any) -> None:
            updates, rest = divmod(reporter.count, options.accum_grad)
            if not rest and updates % options.save_interval_updates == 0:
                state.save(finished=False)

        watch = Watch(
            options.watch, reporter, options.accum_grad, output_dir, options.in_a_row
        )
        after_step: list[Callable[..., None]] = [watch]
        if options.save_interval_updates:
            after_step.append(save)
        batches = without_first(iterator, resumed.batches if resumed else 0)
        if hasattr(inner, "fs"):
            batches = Throughput(batches, reporter, inner.fs)
        with cls.hooks(model, watch, options.accum_grad):
            none_valid = super().train_one_epoch(
                model=model,
                iterator=Steps(batches, length, begin, after_step),
                optimizers=optimizers,
                schedulers=schedulers,
                scaler=scaler,
                reporter=reporter,
                options=options,
                distributed_option=distributed_option,
                **kwargs,
            )
        state.save(finished=True)
        return none_valid and nothing_learnt()

    @classmethod
    @contextlib.contextmanager
    def hooks(
        cls, model: torch.nn.Module, watch: Watch, accum_grad: int
    ) -> Iterator[None]:
        """While open, what is to be done with each output of the model is done."""
        handle = model.register_forward_hook(watch.keep_loss)
        try:
            yield
        finally:
            handle.remove()


class A2MTrainer(SafeTrainer):
    """Trainer of :class:`espnet_a2m.training.task.A2MTask`."""

    @classmethod
    @contextlib.contextmanager
    def hooks(
        cls, model: torch.nn.Module, watch: Watch, accum_grad: int
    ) -> Iterator[None]:
        """Accumulated batches weigh what they hold, see `accumulation`."""
        with (
            super().hooks(model, watch, accum_grad),
            weighted_accumulation(model, accum_grad),
        ):
            yield
