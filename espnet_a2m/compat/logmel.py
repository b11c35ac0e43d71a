"""ESPnet's log-mel front end without its wait for the device."""

from __future__ import annotations

import torch
from espnet2.asr.frontend.default import DefaultFrontend
from torch_complex.tensor import ComplexTensor


class LogMelFrontend(DefaultFrontend):
    """ESPnet's ``frontend: default``: the same options, parameters and features.

    ESPnet's STFT copies the lengths to the host to zero the padding. The log-mel
    features are zeroed there anyway, so that nothing is lost without it.
    """

    def _compute_stft(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[ComplexTensor, torch.Tensor]:
        stft = self.stft
        spectrum, _ = stft(input, None)
        padding = 2 * (stft.n_fft // 2) if stft.center else 0
        lengths = (input_lengths + padding - stft.n_fft).div(
            stft.hop_length, rounding_mode="trunc"
        ) + 1
        return ComplexTensor(spectrum[..., 0], spectrum[..., 1]), lengths
