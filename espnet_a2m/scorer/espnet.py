"""A scorer from an ESPnet ASR checkpoint with CTC."""

from __future__ import annotations

import logging

import torch
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask

from espnet_a2m.encoder_input import input_convs
from espnet_a2m.errors import UserError
from espnet_a2m.frame_grid import FrameGrid, frontend_grid
from espnet_a2m.scorer.batch import encode, obstacle
from espnet_a2m.trained_model import load_trained_model


class ESPnetScorer:
    """CTC posteriors of an ESPnet ASR model, the same however audio is batched.

    A model whose parts :func:`espnet_a2m.scorer.batch.encode` does not know gets its
    utterances one at a time, with a warning: ESPnet's own batched forward lets padding
    change the number of frames and the posteriors.

    Args:
        model_file: Parameters, such as ``valid.loss.ave.pth``.
        config_file: Training configuration; ``config.yaml`` beside the model
            when None.
        device: ``cpu`` or ``cuda``.

    Attributes:
        grid: Where the frames are in the audio.
        blank_id: Index of CTC's blank.

    Raises:
        UserError: A file is missing, does not fit the other, or has no CTC.
    """

    def __init__(
        self,
        model_file: str,
        config_file: str | None = None,
        device: str | torch.device = "cpu",
    ):
        self.model = load_trained_model(
            ASRTask,
            model_file,
            config_file,
            "train the scorer (stages 6-7), or name your own by --scorer_exp or "
            "--scorer_model",
        )
        if not isinstance(self.model.ctc, CTC):
            raise UserError(
                f"{model_file}: the model has no CTC (model_conf.ctc_weight is 0), "
                "so it has no frame confidences"
            )
        self.model.requires_grad_(False).eval()
        self.to(device)
        self.blank_id = int(self.model.blank_id)
        self.grid: FrameGrid = frontend_grid(self.model.frontend).after(
            input_convs(self.model.encoder)
        )
        self.batches = (reason := obstacle(self.model)) is None
        if not self.batches:
            logging.warning(
                "%s: utterances are scored one at a time, because a batch would change "
                "their confidences (%s)",
                model_file,
                reason,
            )

    def to(self, device: str | torch.device) -> None:
        """Move the model; nothing is done when it is there already."""
        self.device = torch.device(device)
        self.model.to(self.device)

    @torch.no_grad()
    def logits(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log posteriors up to a constant per frame.

        Args:
            speech: (B, N) float32 samples, on any device; anything beyond the
                lengths.
            speech_lengths: (B,) samples.

        Returns:
            (B, T, V) and (B,) numbers of frames, on the model's device; 0 frames where
            an utterance is too short.
        """
        speech = speech.to(self.device)
        speech_lengths = speech_lengths.to(self.device)
        if self.batches:
            hidden, lengths = encode(self.model, speech, speech_lengths)
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
            length = torch.tensor([samples], device=self.device)
            encoded, _ = self.model.encode(row[None, :samples], length)
            if isinstance(encoded, tuple):  # with intermediate CTC
                encoded = encoded[0]
            rows.append(encoded[0])
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths
