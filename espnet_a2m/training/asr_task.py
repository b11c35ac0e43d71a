"""ESPnet's ASR task with a trainer that survives kills and full disks."""

from __future__ import annotations

import argparse

from espnet2.tasks.asr import ASRTask

from espnet_a2m.core.distributed import end_processes
from espnet_a2m.training.trainer import SafeTrainer


class SafeASRTask(ASRTask):
    """ESPnet's own ASR models, options and files; only the trainer is another."""

    trainer = SafeTrainer

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        super().main_worker(args)
        end_processes()
