"""A scorer from an ESPnet ASR checkpoint with CTC."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask

from espnet_a2m.compat import packed, zoo
from espnet_a2m.compat.batch_invariant import ENCODERS, encode, obstacle
from espnet_a2m.compat.encoder_hooks import input_convs
from espnet_a2m.compat.frontend_grid import frontend_grid
from espnet_a2m.compat.load import load_trained_model
from espnet_a2m.confidence.ctc import CTCScorer
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import FrameGrid

#: Bytes that a score of attention with relative positions takes, measured at the peak
SCORE_BYTES = 24


def find_model(
    model_file: str, config_file: str | None
) -> tuple[Path, str | Path | Mapping[str, Any]]:
    """The parameters' file, and the training configuration or its file.

    Raises UserError: a packed model is damaged or not safe, or cannot be fetched.
    """
    path = Path(model_file)
    if path.suffix == ".zip" and path.is_file():
        return packed.read_packed(packed.unpack(path))
    if path.is_dir():
        return packed.read_packed(path)
    if zoo.is_name(model_file):
        return packed.read_packed(zoo.download(model_file))
    return path, config_file or path.parent / "config.yaml"


class ESPnetScorer(CTCScorer):
    """CTC posteriors of an ESPnet ASR model, the same however audio is batched.

    A model whose parts :mod:`espnet_a2m.compat.batch_invariant` does not know gets its
    utterances one at a time, with a warning: ESPnet's own batched forward lets padding
    change the number of frames and the posteriors.

    Args:
        model_file: Parameters, such as ``valid.loss.ave.pth``; a packed model
            (``.zip``, or the folder that it was unpacked to); or the name of one in
            ESPnet's model zoo or on Hugging Face.
        config_file: Training configuration; ``config.yaml`` beside the model when
            None, and the packed one of a packed model.
        measure, blank, temperature: As of `espnet_a2m.confidence.measures`.
        ctc_layer: Encoder layer, from 1, whose intermediate CTC is asked, of those in
            ``interctc_layer_idx``; the last when None.
        trust_checkpoint: Read files that can run programs.

    Raises:
        UserError: A file is missing, is not trusted, does not fit the other, or has no
            (such) CTC.
        ValueError: Options of the measure that do not go together.
    """

    def __init__(
        self,
        model_file: str,
        config_file: str | None = None,
        measure: str = "max_prob",
        blank: str = "exclude",
        temperature: float = 1.0,
        ctc_layer: int | None = None,
        trust_checkpoint: bool = False,
    ):
        path, config = find_model(str(model_file), config_file)
        fix = (
            "train the scorer (bin.asr_train), or name your own by --scorer_exp or "
            "--scorer_model"
        )
        model = load_trained_model(ASRTask, path, config, fix, trust_checkpoint)
        if not isinstance(model.ctc, CTC):
            raise UserError(
                f"{model_file}: the model has no CTC (model_conf.ctc_weight is 0), "
                "so it has no frame confidences"
            )
        if getattr(model.encoder, "ctc_trim", False):
            raise UserError(
                f"{model_file}: encoder_conf.ctc_trim drops frames, so that nothing "
                "says where the others are"
            )
        layers = getattr(model.encoder, "interctc_layer_idx", None) or []
        if ctc_layer is not None and ctc_layer not in layers:
            raise UserError(
                f"ctc_layer={ctc_layer}: the layers of {model_file} with a CTC of "
                f"their own (encoder_conf.interctc_layer_idx) are: {layers or 'none'}"
            )
        if not isinstance(config, Mapping):
            config = load_config(config)
        described = {"config": config, "ctc_layer": ctc_layer}
        options = measure, blank, temperature
        super().__init__(model, described, *options, blank_id=int(model.blank_id))
        self.ctc_layer = ctc_layer
        convs = input_convs(model.encoder)
        self.grid: FrameGrid = frontend_grid(model.frontend).after(convs)
        reason = obstacle(model)
        self.batches = reason is None
        if not self.batches:
            logging.warning(
                f"{model_file}: utterances are scored one at a time, because a batch "
                f"would change their confidences ({reason})"
            )

    def bytes_needed(self, num_samples: int) -> int:
        """See the base: attention's scores of all frames for all frames."""
        if type(self.model.encoder).__name__ not in ENCODERS:
            return 0
        heads = (getattr(layer, "h", 0) for layer in self.model.encoder.modules())
        return SCORE_BYTES * max(heads) * self.grid.num_frames(num_samples) ** 2

    def logits(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the base; of ``ctc_layer``, where one was chosen."""
        if self.batches:
            hidden, lengths = encode(self.model, speech, speech_lengths, self.ctc_layer)
        else:
            hidden, lengths = self._encode_one_by_one(speech, speech_lengths)
        return self.model.ctc.ctc_lo(hidden), lengths

    def _encode_one_by_one(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = []
        for row, samples in zip(speech, speech_lengths.tolist(), strict=True):
            if self.grid.num_frames(samples) == 0:
                rows.append(row.new_zeros(0, self.model.encoder.output_size()))
                continue
            length = torch.tensor([samples], device=speech.device)
            encoded, _ = self.model.encode(row[None, :samples], length)
            if isinstance(encoded, tuple):  # with intermediate CTC
                encoded, intermediate = encoded
                if self.ctc_layer is not None:
                    encoded = dict(intermediate)[self.ctc_layer]
            rows.append(encoded[0])
        lengths = torch.tensor([len(row) for row in rows], device=speech.device)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths
