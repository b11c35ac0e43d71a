"""The names of ``import espnet_a2m as a2m``: docs/python.md has an example of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.confidence.registry import SCORERS, build_scorer
from espnet_a2m.confidence.score_set import confidences_of
from espnet_a2m.core.config import check_kwargs
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import FrameGrid, interpolate_frames
from espnet_a2m.data.audio import LOUDEST, MIX, Recording, convert, to_float32
from espnet_a2m.data.recordings.folder import list_folder
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.masking.schedule import ANNEALED

#: A file, or (N,) samples: floats in [-1, 1], or int16
Audio = str | Path | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Confidence:
    """How confident a scorer is of an utterance.

    Attributes:
        frames: (T,) float32 in [0, 1], of each frame (eq. 2).
        utterance: In [0, 1], of all of it (eq. 9).
        speech: (N,) float32 samples, at the scorer's sampling rate.
        grid: Where the frames are in ``speech``.
    """

    frames: torch.Tensor
    utterance: float
    speech: np.ndarray
    grid: FrameGrid

    @property
    def times(self) -> torch.Tensor:
        """(T,) seconds: the centres of the frames."""
        return times_of(self.grid, len(self.frames))

    def at(self, grid: FrameGrid) -> torch.Tensor:
        """(T',) confidences of the frames of another grid, interpolated linearly.

        Raises UserError: it is of another sampling rate.
        """
        if grid.fs != self.grid.fs:
            raise UserError(
                f"a grid of {grid.fs} Hz for confidences of {self.grid.fs} Hz audio: "
                "score the audio by a scorer of that rate"
            )
        lengths = torch.tensor([len(self.frames)])
        num_frames = grid.num_frames(len(self.speech))
        grids = self.grid, grid
        return interpolate_frames(self.frames[None], lengths, *grids, num_frames)[0]


@dataclass(frozen=True)
class Features:
    """Output of an encoder's layer: ``frames`` (T, D) at ``times`` (T,) seconds."""

    frames: torch.Tensor
    times: torch.Tensor


def times_of(grid: FrameGrid, num_frames: int) -> torch.Tensor:
    """(T,) centres of the frames in seconds."""
    return (grid.offset + grid.stride * torch.arange(num_frames)) / grid.fs


def read(audio: Audio, fs: int, audio_fs: int | None = None) -> np.ndarray:
    """(N,) float32 samples at ``fs`` Hz of a file, all channels mixed, or of samples.

    Args:
        audio: Any format that libsndfile or FFmpeg reads; or samples.
        fs: Sampling rate of the result.
        audio_fs: Of samples; None: ``fs``.

    Raises:
        UserError: The file is missing, damaged or no audio; samples are not (N,),
            integers other than int16, not finite or not scaled.
    """
    if isinstance(audio, str | Path):
        with contextlib.closing(Recording(str(audio), MIX)) as recording:
            samples = recording.read(0, recording.info.frames)
            audio_fs = recording.info.rate
    else:
        audio = audio.detach().cpu() if isinstance(audio, torch.Tensor) else audio
        samples = np.asarray(audio)
    if samples.ndim != 1:
        raise UserError(f"audio of shape {samples.shape}: expected (N,) samples")
    if samples.dtype.kind != "f" and samples.dtype != np.int16:
        raise UserError(
            f"samples of {samples.dtype}: expected floats in [-1, 1], or int16"
        )
    samples = to_float32(samples)
    if not np.abs(samples).max(initial=0.0) <= LOUDEST:  # nor NaN
        raise UserError("samples are NaN, infinite, or not scaled to [-1, 1]")
    return convert(samples, audio_fs or fs, fs)


def load_scorer(name: str | Path = "energy", **conf: Any) -> Scorer:
    """Load a scorer.

    Args:
        name: A checkpoint of ESPnet (``.pth``), a folder or a name of Hugging Face's
            hub with a CTC model, ``energy`` (no model), ``ctm``, or
            ``package.module:Class`` of your own.
        conf: Its options, as ``--scorer_conf`` has them (docs/scorers.md).

    Raises:
        UserError: It does not exist, or options are wrong.
    """
    name = str(name)
    if name in SCORERS or ":" in name:
        return build_scorer(name, conf)
    if name.endswith((".pth", ".zip")):
        return build_scorer("espnet", {"model_file": name, **conf})
    return build_scorer("hf", {"model": name, **conf})


def score(
    scorer: Scorer, audio: Audio, fs: int | None = None, device: str = "cpu"
) -> Confidence:
    """Confidences of one utterance.

    Args:
        scorer: Of :func:`load_scorer`.
        audio: See :func:`read`.
        fs: Sampling rate of samples; None: the scorer's.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: The audio cannot be read or is too short.
    """
    speech = read(audio, scorer.grid.fs, fs)
    name = str(audio) if isinstance(audio, str | Path) else "audio"
    frames, utterance = confidences_of(scorer, {name: speech}, device)[name]
    if not len(frames):
        seconds = len(speech) / scorer.grid.fs
        raise UserError(f"{name}: {seconds:.3f} s are too short for the scorer")
    return Confidence(torch.from_numpy(frames), utterance, speech, scorer.grid)


def score_folder(
    scorer: Scorer, folder: str | Path, device: str = "cpu"
) -> Iterator[tuple[str, Confidence]]:
    """Path and confidences of every recording below a folder.

    Raises UserError: there is none, or one cannot be read.
    """
    items, _ = list_folder(Path(folder), "file", None)
    for item in items:
        yield item.audio, score(scorer, item.audio, device=device)


def draw_masks(
    confidence: Confidence,
    draws: int = 1,
    grid: FrameGrid | None = None,
    **masking_conf: Any,
) -> torch.Tensor:
    """(draws, T) boolean masks (eq. 3), True where masked, by torch's random numbers.

    Args:
        confidence: Of the utterance.
        draws: Number of masks.
        grid: Of the frames to mask; None: the scorer's.
        masking_conf: Options of :class:`~espnet_a2m.masking.guided.GuidedMasking`, such
            as ``mask_prob=0.4``, ``mask_length=10``, ``guidance="high"``; annealed ones
            have their last value.

    Raises:
        UserError: An option is unknown or out of its range.
    """
    frames = confidence.frames if grid is None else confidence.at(grid)
    lengths = torch.full((draws,), len(frames))
    return draw_batch(frames.expand(draws, -1), lengths, masking_conf)


def draw_batch(
    confidence: torch.Tensor, lengths: torch.Tensor, masking_conf: dict[str, Any]
) -> torch.Tensor:
    """(B, T) masks of (B, T) confidences of ``lengths`` (B,) frames."""
    check_kwargs(GuidedMasking, masking_conf, "draw_masks", given=("size",))
    masking = GuidedMasking(1024, **masking_conf)
    return masking.draw(lengths, confidence.size(1), confidence, ANNEALED)


def mask_time_indices(
    confidences: Sequence[Confidence], model: Any, **masking_conf: Any
) -> torch.Tensor:
    """(B, T) boolean masks for a model of transformers.

    They are the ``mask_time_indices`` of ``Wav2Vec2ForPreTraining``, ``Wav2Vec2Model``,
    ``HubertModel``, ``WavLMModel`` and ``Data2VecAudioModel``. T is the number of
    frames of the longest utterance of the batch.

    Args:
        confidences: Of the utterances, in the order of the batch.
        model: The model, or its configuration.
        masking_conf: As of :func:`draw_masks`.

    Raises:
        UserError: As :func:`draw_masks`; or the utterances differ in sampling rate, or
            where the model's frames are is not known.
    """
    from espnet_a2m.confidence.huggingface import waveform_convs

    config = getattr(model, "config", model)
    if len({c.grid.fs for c in confidences}) != 1:
        raise UserError("mask_time_indices: utterances of one sampling rate are needed")
    grid = FrameGrid.of_convs(confidences[0].grid.fs, waveform_convs(config))
    rows = [c.at(grid) for c in confidences]
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return draw_batch(padded, lengths, masking_conf)


def plot(
    confidence: Confidence, mask: torch.Tensor, path: str | Path, title: str = ""
) -> Path:
    """Draw spectrogram, confidences and a mask (T,) of the scorer's frames as a PNG.

    Returns its path. Raises UserError: the mask is of other frames.
    """
    if mask.shape != confidence.frames.shape:
        raise UserError(
            f"plot: a mask of shape {tuple(mask.shape)} for "
            f"{len(confidence.frames)} frames: give one mask, drawn without grid"
        )
    from espnet_a2m.evaluation.plots import draw_utterance

    frames = confidence.frames.numpy(), mask.numpy(), confidence.grid
    return draw_utterance(Path(path), title, confidence.speech, *frames)


class Encoder:
    """A pre-trained or fine-tuned encoder, to extract features with.

    Args:
        model_file: Checkpoint of ``bin.ssl_train`` or of ESPnet's ASR task, with its
            ``config.yaml`` beside it.
        device: ``cpu`` or ``cuda``.

    Attributes:
        num_layers: Number of layers.
        grid: Where its frames are in the audio.

    Raises:
        UserError: A file is missing, or does not fit the other.
    """

    def __init__(self, model_file: str | Path, device: str = "cpu"):
        from espnet_a2m.labels.layer import LayerFeatures

        self._layers = LayerFeatures(model_file, 1, device)
        self.num_layers, self.grid = self._layers.num_layers, self._layers.grid

    def features(
        self, audio: Audio, layer: int | None = None, fs: int | None = None
    ) -> Features:
        """Output of a layer, from 1; None: of the last.

        ``audio`` and ``fs`` are as of :func:`score`. Raises UserError: there is no such
        layer, or the audio cannot be read.
        """
        layer = self.num_layers if layer is None else layer
        self._layers.check_layer(layer)
        speech = read(audio, self.grid.fs, fs)
        # a copy, which autograd takes: layers come from inference mode
        frames = self._layers.of_layers(speech, [layer]).cpu().clone()
        return Features(frames, times_of(self.grid, len(frames)))
