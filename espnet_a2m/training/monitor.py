"""Detects collapse and divergence during training, names the batch, and stops."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from espnet2.train.reporter import SubReporter

from espnet_a2m.core.config import ConfigError, check_kwargs
from espnet_a2m.core.distributed import process_rank
from espnet_a2m.core.errors import UserError, preview
from espnet_a2m.training.batches import Batch
from espnet_a2m.training.checkpoint import atomic_save

#: Batches saved in one epoch at most
MAX_SAVED = 10
NO_GAIN = ": predictions are no better than a blind guess"
#: Utterances, batch and loss of this process
Step = tuple[Sequence[str], Batch, torch.Tensor]


class TrainingStopped(UserError):
    """A training run was stopped because it had collapsed or diverged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """Limits of :class:`CollapseMonitor` (``--monitor_conf``); null turns one off.

    Attributes:
        window: Updates over which statistics are averaged.
        start: Updates before collapse is looked for: the codes and the accuracy of a
            new model say nothing.
        min_code_perplexity: Codes in use; 1 is one code for all frames.
        min_prob_perplexity: The same of the quantiser's mean probabilities.
        min_nats_gained: Nats by which predictions are better than a blind guess by how
            often each code or label occurs, or than chance (``nats_gained_...``).
        max_collapsed: Consecutive windows below a limit after which training stops;
            null: it only warns.
        max_nonfinite: Consecutive updates with a NaN or infinite gradient after which
            training stops; null: never. ESPnet's trainer skips such updates, and a few
            are normal while the loss scale of float16 settles.
    """

    window: int = 100
    start: int = 1000
    min_code_perplexity: float | None = 2.0
    min_prob_perplexity: float | None = 2.0
    min_nats_gained: float | None = 0.0
    max_collapsed: int | None = 50
    max_nonfinite: int | None = 10

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any]) -> MonitorOptions:
        """Check and take ``--monitor_conf``.

        Raises:
            ConfigError: A key is not known, or a number is out of its range.
        """
        check_kwargs(cls, conf, "monitor_conf")
        options = cls(**conf)
        least = {"window": 1, "start": 0, "max_collapsed": 1, "max_nonfinite": 1}
        for name, limit in least.items():
            value, optional = getattr(options, name), name.startswith("max_")
            if value is None and optional:
                continue
            if not isinstance(value, int) or value < limit:
                raise ConfigError(
                    f"monitor_conf: {name}={value!r} is not an integer of at least "
                    f"{limit}" + (" or null" if optional else "")
                )
        return options


def window_means(reporter: SubReporter, count: int) -> dict[str, float]:
    """Statistic -> mean over the last ``count`` steps, of those that reported it."""
    result = {}
    for name, values in reporter.stats.items():
        finite = [v.value for v in values[-count:] if math.isfinite(v.value)]
        if finite:
            result[name] = sum(finite) / len(finite)
    return result


def find_collapse(stats: Mapping[str, float], options: MonitorOptions) -> list[str]:
    """Describe every statistic, a mean over a window, that is below its limit."""
    limits = {
        "code_perplexity": (options.min_code_perplexity, ""),
        "prob_perplexity": (options.min_prob_perplexity, ""),
        "nats_gained": (options.min_nats_gained, NO_GAIN),
    }
    found = []
    for prefix, (limit, meaning) in limits.items():
        for name, value in stats.items():
            if name.startswith(prefix) and limit is not None and value < limit:
                found.append(f"{name} {value:.3g} is below {limit:g}{meaning}")
    return found


class CollapseMonitor:
    """Callback after each step of an epoch (see :class:`StepCallbacks`).

    What it reads was reported by ESPnet's trainer, so it is the same on all processes
    and on the host: they stop together, and nothing waits for the device.

    Args:
        options: The limits.
        reporter: Reporter of the epoch's training.
        accum_grad: Batches in an update.
        output_dir: Experiment directory; batches are saved in its ``monitor``.
        streaks: Numbers of consecutive bad windows and updates, kept over epochs.
    """

    def __init__(
        self,
        options: MonitorOptions,
        reporter: SubReporter,
        accum_grad: int,
        output_dir: Path,
        streaks: dict[str, int],
    ):
        self.options = options
        self.reporter = reporter
        self.accum_grad = accum_grad
        self.output_dir = output_dir
        self.streaks = streaks
        self.num_saved = 0
        self.pending: list[Step] = []  # of this update
        self.loss = torch.zeros(())

    def keep_loss(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """Forward hook: remember this process's own loss, on the device."""
        loss = output["loss"] if isinstance(output, dict) else output[0]
        self.loss = loss.detach()

    def __call__(self, utt_ids: Sequence[str], batch: Batch) -> None:
        """Check the step that has just finished.

        Raises:
            TrainingStopped: A streak of bad ones has reached its limit.
        """
        self.pending.append((utt_ids, batch, self.loss))
        if self.reporter.count % self.accum_grad:
            return
        self._check_gradient()
        updates = self.reporter.total_count // self.accum_grad
        if updates > self.options.start and updates % self.options.window == 0:
            self._check_window()
        self.pending = []

    def _check_gradient(self) -> None:
        # ESPnet's trainer reports only a norm that is finite
        norms = self.reporter.stats.get("grad_norm")
        if norms and math.isfinite(norms[-1].value):
            self.streaks["nonfinite"] = 0
            return
        bad = [x for x in self.pending if not bool(x[-1].isfinite().all())]
        problem = "the gradient is not finite"
        if bad:
            problem = "the loss is NaN or infinite"
        if bad or process_rank() == 0:
            # other processes than the first log nothing below an error
            self._report("nonfinite", problem, bad or self.pending, logging.error)
        self._extend_streak(
            "nonfinite",
            self.options.max_nonfinite,
            f"{problem} in {{}} updates in a row: lower optim_conf.lr or grad_clip, "
            "use bfloat16 in place of float16, or leave the utterances out",
        )

    def _check_window(self) -> None:
        window = self.options.window * self.accum_grad
        means = window_means(self.reporter, window)
        problem = "; ".join(find_collapse(means, self.options))
        if not problem:
            self.streaks["collapsed"] = 0
            return
        if process_rank() == 0:
            self._report("collapsed", problem, self.pending, logging.warning)
        self._extend_streak(
            "collapsed",
            self.options.max_collapsed,
            f"collapsed for {{}} times {self.options.window} updates: {problem}. See "
            "README, 'Choices of ours': raise diversity_weight, set "
            "standardise_input, lower optim_conf.lr",
        )

    def _report(
        self,
        kind: str,
        problem: str,
        steps: Sequence[Step],
        log: Callable[[str], None],
    ) -> None:
        """Log a problem; save the batches on which a streak begins."""
        utterances = [utt_id for utt_ids, _, _ in steps for utt_id in utt_ids]
        epoch, step = self.reporter.get_epoch(), self.reporter.count
        where = f"epoch {epoch}, batch {step}"
        message = f"monitor: {where}: {problem}; utterances {preview(utterances)}"
        if not self.streaks[kind] and self.num_saved < MAX_SAVED:
            name = f"{epoch}epoch_{step}_{kind}_{process_rank()}.pt"
            path = self.output_dir / "monitor" / name
            content = [{"utt_id": list(ids), **batch} for ids, batch, _ in steps]
            atomic_save({"problem": problem, "where": where, "batches": content}, path)
            self.num_saved += 1
            message += f"; saved as {path}"
        log(message)

    def _extend_streak(self, kind: str, limit: int | None, advice: str) -> None:
        self.streaks[kind] += 1
        if limit is not None and self.streaks[kind] >= limit:
            raise TrainingStopped(
                f"{self.output_dir}: training was stopped: "
                f"{advice.format(self.streaks[kind])}. The batches are in "
                f"{self.output_dir / 'monitor'}; --monitor_conf max_{kind}=... changes "
                "when it stops (null: never)"
            )
