"""ESPnet's ASR task with a trainer that resumes after interruptions."""

from __future__ import annotations

import argparse

from espnet2.tasks.asr import ASRTask

from espnet_a2m.core.distributed import end_processes
from espnet_a2m.training.trainer import ResumableTrainer


class A2MASRTask(ASRTask):
    """ESPnet's own ASR models, options and files; only the trainer is another."""

    trainer = ResumableTrainer

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Train, then leave the process group."""
        super().main_worker(args)
        end_processes()
