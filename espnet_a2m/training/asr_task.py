"""ESPnet's ASR task with a trainer that resumes after interruptions."""

from __future__ import annotations

import argparse

import torch
from espnet2.tasks.asr import ASRTask

from espnet_a2m.core.config import ConfigError
from espnet_a2m.training.trainer import ResumableTrainer


class A2MASRTask(ASRTask):
    """ESPnet's own ASR models, options and files; the trainer is another.

    The parameters that ``--init_param`` fills may learn more slowly than those that
    are still random.
    """

    trainer = ResumableTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        super().add_task_arguments(parser)
        parser.add_argument(
            "--init_param_lr_scale",
            type=float,
            default=1.0,
            help="Learning rate of the parameters that --init_param fills, relative to "
            "that of the others (optim_conf.lr)",
        )

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """ESPnet's optimiser, with a second group of parameters where they are scaled.

        Raises:
            ConfigError: The scale is negative.
        """
        (optimizer,) = super().build_optimizers(args, model)
        scale = args.init_param_lr_scale
        if scale < 0:
            raise ConfigError(f"init_param_lr_scale={scale:g} is negative")
        # FILE:SOURCE:TARGET:EXCLUDED, of which only FILE has to be there
        targets = [(entry.split(":") + ["", ""])[2] for entry in args.init_param]
        if scale == 1 or not targets:
            return [optimizer]
        filled = {
            id(parameter)
            for name, parameter in model.named_parameters()
            if any(
                f"{name}.".startswith(f"{target}." * bool(target)) for target in targets
            )
        }
        groups = []
        for group in optimizer.param_groups:
            for slow in (False, True):
                params = [p for p in group["params"] if (id(p) in filled) == slow]
                if params:
                    lr = group["lr"] * (scale if slow else 1)
                    groups.append({**group, "params": params, "lr": lr})
        optimizer.param_groups.clear()
        for group in groups:
            optimizer.add_param_group(group)
        return [optimizer]
