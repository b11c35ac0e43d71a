"""Features of HuBERT's later rounds: a layer of a trained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from espnet2.tasks.asr import ASRTask
from espnet2.tasks.ssl import SSLTask

from espnet_a2m.compat.encoder_hooks import capture_layers, input_convs
from espnet_a2m.compat.frontend_grid import frontend_grid
from espnet_a2m.compat.load import load_trained_model
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import file_digest
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.training.task import A2MTask


class LayerFeatures:
    """Output of one encoder layer of a pre-trained or ASR model, without a mask.

    One utterance at a time, so that padding cannot matter.

    Args:
        model_file: Parameters of a pre-training run or of ESPnet's ASR or SSL task,
            such as ``4epoch.pth``; ``config.yaml`` lies beside.
        layer: Layer of the encoder, from 1.
        device: ``cpu`` or ``cuda``.
        random_seed: As of `load_trained_model`.

    Raises:
        UserError: A file is missing or does not fit the other, or there is no such
            layer.
    """

    def __init__(
        self,
        model_file: str | Path,
        layer: int,
        device: str = "cpu",
        random_seed: int | None = None,
    ):
        model_path = Path(model_file)
        config = model_path.parent / "config.yaml"
        options = load_config(config) if config.is_file() else {"masking_conf": {}}
        tasks = {"masking_conf": A2MTask, "util": SSLTask}  # only they have these
        task = next((t for name, t in tasks.items() if name in options), ASRTask)
        fix = "train the model first (bin.ssl_train or bin.asr_train)"
        self.model = load_trained_model(
            task, model_path, None, fix, random_seed=random_seed
        )
        encoder = self.model.encoder
        self.num_layers = len(encoder.encoders)
        self.model_file = model_path
        self.check_layer(layer)
        self.layer, self.device = layer, device
        self.model.to(device).eval()
        self.dim = encoder.output_size()
        convs = input_convs(encoder)
        self.grid: FrameGrid = frontend_grid(self.model.frontend).after(convs)
        self.description: dict[str, object] = {
            "features": "layer",
            "layer": layer,
            "model": model_path.resolve().name,
            "sha256": file_digest(model_path),
        }

    def check_layer(self, layer: int) -> None:
        """Raise UserError: there is no such layer."""
        if not 1 <= layer <= self.num_layers:
            raise UserError(
                f"{self.model_file}: there is no layer {layer}; choose --layer from 1 "
                f"to {self.num_layers}"
            )

    def __call__(self, speech: np.ndarray) -> torch.Tensor:
        """(N,) samples -> (T, D)."""
        return self.of_layers(speech, [self.layer])

    @torch.inference_mode()
    def of_layers(self, speech: np.ndarray, layers: Sequence[int]) -> torch.Tensor:
        """(N,) samples -> (T, L * D), the outputs of several layers side by side."""
        if self.grid.num_frames(len(speech)) == 0:
            return torch.empty(0, len(layers) * self.dim)
        batch = torch.from_numpy(speech)[None].to(self.device)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        feats, lengths = self.model.frontend(batch, lengths)
        for module in (self.model.normalize, self.model.preencoder):
            if module is not None:
                feats, lengths = module(feats, lengths)
        captured = capture_layers(self.model.encoder, feats, lengths, layers)
        output = captured.output
        if isinstance(output, tuple):  # with intermediate CTC
            output = output[0]
        # the last with the final norm, as the losses see it
        hidden = captured.layers | {self.num_layers: output}
        return torch.cat([hidden[layer][0] for layer in layers], dim=1)
