"""Features of HuBERT's later rounds: a layer of an earlier pre-training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from espnet_a2m.compat.encoder_hooks import capture_layers
from espnet_a2m.compat.load import load_trained_model
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import file_digest
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.training.task import A2MTask


class LayerFeatures:
    """Output of one encoder layer of a pre-trained model, without a mask.

    One utterance at a time, so that padding cannot matter.

    Args:
        model_file: Parameters, such as ``4epoch.pth``; ``config.yaml`` lies beside.
        layer: Layer of the encoder, from 1.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: A file is missing or does not fit the other, or there is no such
            layer.
    """

    def __init__(self, model_file: str | Path, layer: int, device: str = "cpu"):
        model_path = Path(model_file)
        self.model = load_trained_model(
            A2MTask, model_path, None, "pre-train the model first (bin.ssl_train)"
        )
        self.num_layers = len(self.model.encoder.encoders)
        if not 1 <= layer <= self.num_layers:
            raise UserError(
                f"{model_path}: there is no layer {layer}; choose --layer from 1 to "
                f"{self.num_layers}"
            )
        self.layer = layer
        self.device = device
        self.model.to(device).eval()
        self.dim = self.model.encoder.output_size()
        self.grid: FrameGrid = self.model.confidence.encoder_grid
        self.description: dict[str, object] = {
            "features": "layer",
            "layer": layer,
            "model": model_path.resolve().name,
            "sha256": file_digest(model_path),
        }

    @torch.inference_mode()
    def __call__(self, speech: np.ndarray) -> torch.Tensor:
        """(N,) samples -> (T, D)."""
        if self.grid.num_frames(len(speech)) == 0:
            return torch.empty(0, self.dim)
        batch = torch.from_numpy(speech)[None].to(self.device)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        feats = self.model.frontend(batch, lengths)
        encoder_in, lengths = self.model.encoder_input(*feats)
        captured = capture_layers(self.model.encoder, encoder_in, lengths, [self.layer])
        # the last with the final norm, as the losses see it
        hidden = captured.layers | {self.num_layers: captured.output}
        return hidden[self.layer][0]
