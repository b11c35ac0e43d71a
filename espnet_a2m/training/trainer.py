"""ESPnet's trainer that resumes from any update and stops after a collapse."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterable, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter, aggregate
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet_a2m.core.distributed import end_processes
from espnet_a2m.training.accumulation import weighted_accumulation
from espnet_a2m.training.batches import (
    Callback,
    SmallBatches,
    StepCallbacks,
    Throughput,
    skip_batches,
)
from espnet_a2m.training.checkpoint import (
    UPDATE,
    back_up_checkpoint,
    explain_full_disk,
    recover_checkpoint,
)
from espnet_a2m.training.mid_epoch_checkpoint import (
    MidEpochCheckpoint,
    set_random_state,
)
from espnet_a2m.training.monitor import CollapseMonitor, MonitorOptions


@dataclasses.dataclass(kw_only=True)
class ResumableTrainerOptions(TrainerOptions):
    """ESPnet's options and ours."""

    save_interval_updates: int  # between two saved states; 0: only at an epoch's end
    monitor: MonitorOptions  # limits at which training stops
    streaks: dict[str, int] = dataclasses.field(  # kept from epoch to epoch
        default_factory=lambda: {"nonfinite": 0, "collapsed": 0}
    )


class WatchConfAction(NestedDictAction):
    """``--watch_conf``, the old name of ``--monitor_conf``."""

    def __call__(self, parser: Any, namespace: Any, *values: Any) -> None:
        """Set ``monitor_conf``, and ``watch_conf`` so that build_options warns."""
        NestedDictAction(self.option_strings, "monitor_conf")(
            parser, namespace, *values
        )
        namespace.watch_conf = getattr(namespace, "watch_conf", {})


class ResumableTrainer(Trainer):
    """Trainer of any ESPnet task: resumes mid-epoch, and stops after a collapse."""

    #: Opened for an epoch: how its batches accumulate; in ESPnet, each the same share
    accumulation: Callable[..., Any] = staticmethod(
        lambda model, accum_grad: nullcontext()
    )

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add options to those of every ESPnet training run."""
        add = parser.add_argument_group("Safety related").add_argument
        add(
            "--save_interval_updates",
            type=int,
            default=1000,
            help="Save the complete state every so many updates, beside the end of "
            "each epoch; an interrupted run resumes from there. 0: epochs only",
        )
        add(
            "--monitor_conf",
            action=NestedDictAction,
            default=dict(),
            help="When to warn of a collapse or divergence and when to stop: "
            "window, start, min_code_perplexity, min_prob_perplexity, min_nats_gained, "
            "max_collapsed, max_nonfinite (espnet_a2m/training/monitor.py)",
        )
        absent = argparse.SUPPRESS  # also from the options, unless somebody gives it
        add("--watch_conf", action=WatchConfAction, default=absent, help=absent)

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> ResumableTrainerOptions:
        """Take the options out of ``args``."""
        conf = args.monitor_conf or {}
        if hasattr(args, "watch_conf"):
            logging.warning("watch_conf is now called monitor_conf: rename it")
            conf = {**(args.watch_conf or {}), **conf}
        if "min_acc_gain" in conf:
            logging.warning(
                "monitor_conf: min_acc_gain is now min_nats_gained: ignored"
            )
            conf = {k: value for k, value in conf.items() if k != "min_acc_gain"}
        monitor = MonitorOptions.from_conf(conf)
        if off := [k for k, value in vars(monitor).items() if value is None]:
            logging.warning(f"monitor_conf: off: {', '.join(off)}")
        return ResumableTrainerOptions(
            **vars(build_dataclass(TrainerOptions, args)),
            save_interval_updates=args.save_interval_updates,
            monitor=monitor,
        )

    @classmethod
    def run(
        cls,
        model: torch.nn.Module,
        trainer_options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> None:
        """Train all epochs, from the last complete state on; leave the process group.

        Raises:
            UserError: The disk is full, or the model has collapsed or diverged.
        """
        output_dir = Path(trainer_options.output_dir)
        with explain_full_disk(output_dir):
            if distributed_option.dist_rank in (None, 0):
                if trainer_options.resume:
                    recover_checkpoint(output_dir)
                else:
                    (output_dir / UPDATE).unlink(missing_ok=True)
            if distributed_option.distributed:
                torch.distributed.barrier()  # nobody resumes before it is recovered
            super().run(
                model=model,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **kwargs,
            )
        end_processes()

    @classmethod
    def train_one_epoch(
        cls,
        model: torch.nn.Module,
        iterator: Iterable,
        reporter: SubReporter,
        options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> bool:
        """Train one epoch, or the rest of it, with random numbers of its own.

        Returns:
            Whether no update could be made: ESPnet then stops.
        """
        rank = distributed_option.dist_rank or 0
        output_dir = Path(options.output_dir)
        if rank == 0:
            back_up_checkpoint(output_dir)
        # ESPnet seeds every process alike, which would repeat masks
        set_all_random_seed(options.seed + reporter.get_epoch() + 1000 * rank)
        for optimizer in kwargs["optimizers"]:
            optimizer.zero_grad()  # of batches after the last update of an epoch
        inner: Any = getattr(model, "module", model)  # inside DDP or not
        length = len(iterator) if isinstance(iterator, Sized) else None
        parts = [kwargs[name] for name in ("optimizers", "schedulers", "scaler")]
        state = MidEpochCheckpoint(output_dir, inner, reporter, length, *parts)
        resumed = state.restore() if options.resume else None

        def start() -> None:
            if resumed:
                set_random_state(resumed.random_state)

        def no_update() -> bool:
            # ESPnet's trainer reports a norm only for an update
            return "grad_norm" not in reporter.stats

        if resumed and resumed.finished:
            start()
            return no_update()

        def save(*_: Any) -> None:
            interval = options.save_interval_updates * options.accum_grad
            if interval and reporter.count % interval == 0:
                state.save(finished=False)

        watch: list[Callback] = []
        if hasattr(inner, "fs"):  # pre-training
            watch = [Throughput(reporter, inner.fs)]
            watch += [SmallBatches()] if reporter.epoch == 1 else []
        monitor = CollapseMonitor(
            options.monitor, reporter, options.accum_grad, output_dir, options.streaks
        )
        steps = StepCallbacks(
            skip_batches(iterator, resumed.batches if resumed else 0),
            length,
            on_start=start,
            before_step=watch,
            after_step=[monitor, save],
        )
        with (
            model.register_forward_hook(monitor.keep_loss),
            cls.accumulation(model, options.accum_grad),
        ):
            none_valid = super().train_one_epoch(
                model=model,
                iterator=steps,
                reporter=reporter,
                options=options,
                distributed_option=distributed_option,
                **kwargs,
            )
        state.save(finished=True)
        return none_valid and no_update()

    @classmethod
    def validate_one_epoch(cls, **kwargs: Any) -> None:
        """Validate with the same masks and negatives after every epoch."""
        rank = kwargs["distributed_option"].dist_rank or 0
        set_all_random_seed(kwargs["options"].seed + 1000 * rank)
        super().validate_one_epoch(**kwargs)


class A2MTrainer(ResumableTrainer):
    """Trainer of :class:`~espnet_a2m.training.task.A2MTask`."""

    accumulation = staticmethod(weighted_accumulation)

    @classmethod
    def validate_one_epoch(cls, **kwargs: Any) -> None:
        """Validate; report what predictions gain over the classes' own entropy."""
        super().validate_one_epoch(**kwargs)
        model, reporter = kwargs["model"], kwargs["reporter"]
        inner: Any = getattr(model, "module", model)
        gained = {
            f"nats_gained_{name}": entropy
            - float(aggregate(reporter.stats[f"cross_entropy_{name}"]))
            for name, entropy in inner.end_validation().items()
        }
        if gained:
            reporter.register(gained, weight=1.0)
            reporter.next()
