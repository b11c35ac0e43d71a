"""Where the frames of ESPnet's front ends are."""

from __future__ import annotations

from typing import Any

import torch

from espnet_a2m.core.frames import FrameGrid


def frontend_grid(frontend: torch.nn.Module, fs: int = 16000) -> FrameGrid:
    """The grid of an ESPnet front end's frames.

    Args:
        frontend: The front end.
        fs: Sampling rate in Hz of front ends that do not know it themselves.

    Raises:
        ValueError: The front end's frame rate is not known here.
    """
    from espnet2.asr.frontend.cnn import CNNFrontend
    from espnet2.asr.frontend.default import DefaultFrontend
    from espnet2.asr.frontend.windowing import SlidingWindow

    if isinstance(frontend, DefaultFrontend) and frontend.apply_stft:
        fs = int(frontend.logmel.mel_options["sr"])
        # the window is in the middle of the FFT's n_fft samples, which may be more
        offset = 0.0 if frontend.stft.center else frontend.stft.n_fft / 2
        return FrameGrid(fs=fs, offset=offset, stride=frontend.hop_length)
    if isinstance(frontend, CNNFrontend):
        layers: Any = frontend.layers
        return FrameGrid.of_convs(fs, ((x.kernel_size, x.stride, 0) for x in layers))
    if isinstance(frontend, SlidingWindow):
        convs = [(frontend.win_length, frontend.hop_length, 0)]
        return FrameGrid.of_convs(fs, convs)
    raise ValueError(
        f"{type(frontend).__name__}: its frame rate is not known; use `frontend:` "
        "default (log-mel), wav2vec_cnn or sliding_window"
    )
