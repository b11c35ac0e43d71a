"""ESPnet's log-mel front end without its wait for the device."""

from __future__ import annotations

import torch
from espnet2.asr.frontend.default import DefaultFrontend
from torch_complex.tensor import ComplexTensor


def reflect_end(
    speech: torch.Tensor, lengths: torch.Tensor, width: int
) -> torch.Tensor:
    """Continue each row of (B, N) beyond its own end by ``width`` mirrored samples."""
    steps = torch.arange(width, device=speech.device)
    end = lengths[:, None]
    mirrored = speech.gather(1, (end - 2 - steps).clamp(min=0))
    padded = torch.nn.functional.pad(speech, (0, width))
    return padded.scatter(1, end + steps, mirrored)


class LogMelFrontend(DefaultFrontend):
    """ESPnet's ``frontend: default``: the same options, parameters and features.

    ESPnet's STFT copies the lengths to the host to zero the padding. The log-mel
    features are zeroed there anyway, so that nothing is lost without it. The end of an
    utterance is reflected in a padded batch as well, as if it were alone.
    """

    def _compute_stft(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[ComplexTensor, torch.Tensor]:
        stft = self.stft
        if stft.center:
            num_frames = input.size(1) // stft.hop_length + 1
            extended = reflect_end(input, input_lengths, stft.n_fft // 2)
            spectrum = stft(extended, None)[0][:, :num_frames]
        else:
            spectrum, _ = stft(input, None)
        padding = 2 * (stft.n_fft // 2) if stft.center else 0
        lengths = (input_lengths + padding - stft.n_fft).div(
            stft.hop_length, rounding_mode="trunc"
        ) + 1
        return ComplexTensor(spectrum[..., 0], spectrum[..., 1]), lengths
