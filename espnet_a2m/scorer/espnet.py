"""A scorer from an ESPnet ASR checkpoint with CTC."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask

from espnet_a2m.encoder_input import input_convs
from espnet_a2m.errors import UserError
from espnet_a2m.frame_grid import FrameGrid, frontend_grid


class ESPnetScorer:
    """CTC posteriors of an ESPnet ASR model, one utterance at a time.

    ESPnet's batched forward lets padding change both the number of frames and
    the posteriors, so a score would depend on its neighbours in the batch; and
    on a CPU batches are no faster.

    Args:
        model_file: Parameters, such as ``valid.loss.ave.pth``.
        config_file: Training configuration; ``config.yaml`` beside the model
            when None.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: A file is missing, does not fit the other, or has no CTC.
    """

    def __init__(
        self, model_file: str, config_file: str | None = None, device: str = "cpu"
    ):
        model_path = Path(model_file)
        config_path = Path(config_file or model_path.parent / "config.yaml")
        for path in (model_path, config_path):
            if not path.is_file():
                raise UserError(
                    f"{path}: no such file; train the scorer (stages 6-7), or name "
                    "your own by --scorer_exp or --scorer_model"
                )
        with config_path.open(encoding="utf-8") as f:
            args = argparse.Namespace(**yaml.safe_load(f))
        self.model = ASRTask.build_model(args)
        # ESPnet ignores keys that do not match and would leave layers random
        state = torch.load(model_path, map_location="cpu", weights_only=True)
        try:
            self.model.load_state_dict(state, strict=True)
        except RuntimeError as e:
            raise UserError(
                f"{model_path}: does not fit {config_path}, or was trained by "
                f"another ESPnet release: {e}"
            ) from e
        if not isinstance(self.model.ctc, CTC):
            raise UserError(
                f"{config_path}: the model has no CTC (model_conf.ctc_weight is 0), "
                "so it has no frame confidences"
            )
        self.device = device
        self.model.to(device).eval()
        self.blank_id = int(self.model.blank_id)
        self.grid: FrameGrid = frontend_grid(self.model.frontend).after(
            input_convs(self.model.encoder)
        )

    @torch.inference_mode()
    def log_probs(self, speech: np.ndarray) -> torch.Tensor:
        """(N,) float32 samples -> (T, V) log posteriors; T = 0 if too short."""
        if self.grid.num_frames(len(speech)) == 0:
            return torch.empty(0, self.model.vocab_size)
        batch = torch.from_numpy(speech)[None].to(self.device)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        encoded, _ = self.model.encode(batch, lengths)
        if isinstance(encoded, tuple):  # with intermediate CTC
            encoded = encoded[0]
        return self.model.ctc.log_softmax(encoded)[0]
