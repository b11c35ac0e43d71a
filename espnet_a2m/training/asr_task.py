"""ESPnet's ASR task with a trainer that resumes after interruptions."""

from __future__ import annotations

from espnet2.tasks.asr import ASRTask

from espnet_a2m.training.trainer import ResumableTrainer


class A2MASRTask(ASRTask):
    """ESPnet's own ASR models, options and files; only the trainer is another."""

    trainer = ResumableTrainer
