"""Notices when a training collapses or diverges, says on what, and stops it."""

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
from espnet_a2m.training.checkpoint import save_whole
from espnet_a2m.training.steps import Batch

#: Batches saved in one epoch at most
MAX_SAVED = 10


class TrainingStopped(UserError):
    """A training was ended because going on made no sense."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What is watched (``--watch_conf``); null turns a limit off.

    Attributes:
        window: Updates over which statistics are averaged.
        start: Updates after which collapse is looked for: a new model's codes and
            accuracy say nothing.
        min_code_perplexity: Codes in use; 1 is one code for all frames.
        min_prob_perplexity: The same of the quantiser's mean probabilities.
        min_acc_gain: Masked accuracy beyond what always the same answer, or a blind
            guess, gives.
        max_collapsed: Windows in a row below a limit after which training stops; null:
            it is only warned of.
        max_nonfinite: Updates in a row with a NaN or infinite gradient after which
            training stops; null: it goes on for ever. ESPnet's trainer leaves such
            updates out, and a few are normal while the loss scale of float16 settles.
    """

    window: int = 100
    start: int = 1000
    min_code_perplexity: float | None = 2.0
    min_prob_perplexity: float | None = 2.0
    min_acc_gain: float | None = 0.0
    max_collapsed: int | None = 50
    max_nonfinite: int | None = 10

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any]) -> WatchOptions:
        """Take ``--watch_conf``.

        Raises:
            ConfigError: A key is not known, or a number is out of its range.
        """
        check_kwargs(cls, conf, "watch_conf")
        options = cls(**conf)
        for name, least in (
            ("window", 1),
            ("start", 0),
            ("max_collapsed", 1),
            ("max_nonfinite", 1),
        ):
            value = getattr(options, name)
            if value is None and name.startswith("max_"):
                continue
            if not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"watch_conf: {name}={value!r} is not a whole number of at least "
                    f"{least}" + (" or null" if name.startswith("max_") else "")
                )
        return options


def means(reporter: SubReporter, count: int) -> dict[str, float]:
    """Statistic -> mean over the last ``count`` steps, of those that reported it."""
    result = {}
    for name, values in reporter.stats.items():
        finite = [v.value for v in values[-count:] if math.isfinite(v.value)]
        if finite:
            result[name] = sum(finite) / len(finite)
    return result


def collapses(stats: Mapping[str, float], options: WatchOptions) -> list[str]:
    """What is below its limit, in words.

    Args:
        stats: Means over a window.
        options: The limits.
    """
    found = []
    for name in ("code_perplexity", "prob_perplexity"):
        limit = getattr(options, f"min_{name}")
        if limit is not None and stats.get(name, math.inf) < limit:
            found.append(f"{name} {stats[name]:.3g} is below {limit:g}")
    if options.min_acc_gain is None:
        return found
    for name in (name for name in stats if name.startswith("acc_")):
        objective = name.removeprefix("acc_")
        blind = stats.get(f"majority_{objective}", stats.get(f"chance_{objective}"))
        gain = math.inf if blind is None else stats[name] - blind
        if gain < options.min_acc_gain:
            found.append(
                f"{name} {stats[name]:.3g} is no better than a blind guess's "
                f"{blind:.3g} (by {gain:.2g}, where {options.min_acc_gain:g} "
                "is asked for)"
            )
    return found


class Watch:
    """Looks at each step of an epoch after it is done (see :class:`Steps`).

    What it reads was reported by ESPnet's trainer, thus is the same on all processes
    and on the host: they stop together, and nothing waits for the device.

    Args:
        options: What to look for.
        reporter: Of the epoch's training.
        accum_grad: Batches in an update.
        output_dir: Of the experiment; batches are saved in its ``watch``.
        state: Numbers of windows and updates in a row that were bad, kept over epochs.
    """

    def __init__(
        self,
        options: WatchOptions,
        reporter: SubReporter,
        accum_grad: int,
        output_dir: Path,
        state: dict[str, int],
    ):
        self.options = options
        self.reporter = reporter
        self.accum_grad = accum_grad
        self.output_dir = output_dir
        self.in_a_row = state
        self.saved = 0
        self.pending: list[tuple[Sequence[str], Batch, torch.Tensor | None]] = []
        self.loss: torch.Tensor | None = None

    def keep_loss(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """Forward hook: remember this process's own loss, on the device."""
        loss = output["loss"] if isinstance(output, dict) else output[0]
        self.loss = loss.detach()

    def __call__(self, utt_ids: Sequence[str], batch: Batch) -> None:
        """Judge the step that was made of a batch.

        Raises:
            TrainingStopped: Too many bad ones in a row.
        """
        self.pending.append((utt_ids, batch, self.loss))
        if self.reporter.count % self.accum_grad:
            return
        self._judge_gradient()
        updates = self.reporter.total_count // self.accum_grad
        if updates > self.options.start and updates % self.options.window == 0:
            self._judge_window()
        self.pending = []

    def _judge_gradient(self) -> None:
        # ESPnet's trainer reports only a norm that is finite
        norms = self.reporter.stats.get("grad_norm")
        if norms and math.isfinite(norms[-1].value):
            self.in_a_row["nonfinite"] = 0
            return
        bad = [
            (utt_ids, batch)
            for utt_ids, batch, loss in self.pending
            if loss is not None and not bool(loss.isfinite().all())
        ]
        problem = "the gradient is not finite"
        if bad:
            problem = "the loss is NaN or infinite"
        if bad or process_rank() == 0:
            self._report(
                "nonfinite",
                problem,
                bad or [(utt_ids, batch) for utt_ids, batch, _ in self.pending],
                logging.error,  # other processes than the first log nothing less
            )
        self._count(
            "nonfinite",
            self.options.max_nonfinite,
            f"{problem} in {{}} updates in a row: lower optim_conf.lr or grad_clip, "
            "use bfloat16 in place of float16, or leave the utterances out",
        )

    def _judge_window(self) -> None:
        window = self.options.window * self.accum_grad
        found = collapses(means(self.reporter, window), self.options)
        if not found:
            self.in_a_row["collapsed"] = 0
            return
        problem = "; ".join(found)
        last = [(utt_ids, batch) for utt_ids, batch, _ in self.pending]
        if process_rank() == 0:
            self._report("collapsed", problem, last, logging.warning)
        self._count(
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
        batches: Sequence[tuple[Sequence[str], Batch]],
        log: Callable[[str], None],
    ) -> None:
        utterances = [utt_id for utt_ids, _ in batches for utt_id in utt_ids]
        epoch, step = self.reporter.get_epoch(), self.reporter.count
        where = f"epoch {epoch}, batch {step}"
        message = f"watch: {where}: {problem}; utterances {preview(utterances)}"
        if not self.in_a_row[kind] and self.saved < MAX_SAVED:
            name = f"{epoch}epoch_{step}_{kind}_{process_rank()}.pt"
            path = self.output_dir / "watch" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = [{"utt_id": list(ids), **batch} for ids, batch in batches]
            save_whole({"problem": problem, "where": where, "batches": content}, path)
            self.saved += 1
            message += f"; saved as {path}"
        log(message)

    def _count(self, kind: str, most: int | None, advice: str) -> None:
        self.in_a_row[kind] += 1
        if most is not None and self.in_a_row[kind] >= most:
            raise TrainingStopped(
                f"{self.output_dir}: training was stopped: "
                f"{advice.format(self.in_a_row[kind])}. The batches are in "
                f"{self.output_dir / 'watch'}; --watch_conf max_{kind}=... changes "
                "when it stops (null: never)"
            )
