"""The masks that a pre-training run draws, by its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.core.config import ConfigError, check_kwargs
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.masking.guidance import Guidance, GuidanceOptions, Orders
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.masking.sampling import EPS
from espnet_a2m.model.frontend import ConfidenceFrontend

#: Updates at which annealed options are read: they have their last value
ANNEALED = torch.tensor(2**40)


class ObservedGuidance:
    """A guidance that remembers what it was asked last: the starts of a batch's row 0.

    Attributes:
        confidence: (S,) confidences of the possible starts.
        options: The guidance's options.
    """

    def __init__(self, guidance: Guidance):
        self.guidance = guidance
        self.confidence: torch.Tensor
        self.options: GuidanceOptions

    def __call__(
        self, confidence: torch.Tensor, lengths: torch.Tensor, options: GuidanceOptions
    ) -> Orders:
        """As the guidance."""
        self.confidence, self.options = confidence[0, : lengths[0]], options
        return self.guidance(confidence, lengths, options)


@dataclasses.dataclass
class RunMasking:
    """How a pre-training run masks an utterance.

    Annealed options have their last value.

    Attributes:
        conf: ``masking_conf``.
        scorer_grid: Where the frames of the confidences are in the audio.
        encoder_grid: Where the encoder's are.
        width: Of the encoder's input.
        crop: Samples that training takes of an utterance at most; None: all.

    Raises:
        ConfigError: An option of ``conf`` is unknown or out of its range, or sampling
            rates differ.
    """

    conf: Mapping[str, Any]
    scorer_grid: FrameGrid
    encoder_grid: FrameGrid
    width: int = 1024
    crop: int | None = None

    def __post_init__(self) -> None:
        check_kwargs(GuidedMasking, self.conf, "masking_conf", given=("size",))
        uniform = {**self.conf, "guidance": "uniform"}
        try:
            self.guided = GuidedMasking(self.width, **self.conf)
            self.uniform = GuidedMasking(self.width, **uniform)
            self.frontend = ConfidenceFrontend(self.encoder_grid, self.scorer_grid)
        except ValueError as e:
            raise ConfigError(str(e)) from e
        self.observed = ObservedGuidance(self.guided.order_starts)
        self.guided.order_starts = self.observed

    @classmethod
    def load(
        cls,
        config: str | Path | None,
        options: Sequence[str],
        masking_conf: Mapping[str, Any],
        scorer_grid: FrameGrid,
    ) -> RunMasking:
        """Read it from a configuration of ``bin.ssl_train``.

        Args:
            config: The YAML file; None: ``masking_conf``, at the scorer's frames.
            options: Further options of ``bin.ssl_train``.
            masking_conf: Options in place of the configuration's.
            scorer_grid: Where the frames of the confidences are in the audio.

        Raises:
            ConfigError: The configuration cannot be read, or is wrong.
        """
        if config is None:
            return cls(masking_conf, scorer_grid, scorer_grid)
        from espnet_a2m.training import task
        from espnet_a2m.training.validate_config import check_config

        check_config(config, "ssl")
        command = ["--config", str(config), "--output_dir", "-", *options]
        args = task.A2MTask.get_parser().parse_args(command)
        fs = task.sampling_rate(args)
        crop = args.collate_fn_conf.get("crop_duration", 32.0)
        frontend = task.build_frontend(args)
        size = frontend.output_size()
        with torch.device("meta"):  # only its shape is asked
            preencoder = task.build("preencoder", args, input_size=size)
            size = size if preencoder is None else preencoder.output_size()
            encoder = task.build("encoder", args, input_size=size)
        grid = task.frontend_grid(frontend, fs).after(task.input_convs(encoder))
        conf = {**args.masking_conf, **masking_conf}
        crop = None if crop is None else int(crop * fs)
        return cls(conf, scorer_grid, grid, encoder.output_size(), crop)

    def read(self, scored: ScoredDataset, utt: str) -> tuple[np.ndarray, torch.Tensor]:
        """(N,) samples of an utterance and (T,) confidences of its encoder frames.

        They are those of its beginning where training crops it.
        """
        speech = scored.speech(utt)[: self.crop]
        num_frames = self.encoder_grid.num_frames(len(speech))
        confidence = torch.from_numpy(scored.confidence(utt)).float()[None]
        frames = torch.tensor([confidence.size(1)])
        streams = {"confidence": confidence, "confidence_lengths": frames}
        empty = torch.zeros(1, 0)  # the audio is for scorers that run while training
        of_frames, _ = self.frontend(empty, torch.tensor([0]), num_frames, streams)
        assert of_frames is not None
        return speech, of_frames[0]

    def draw(
        self, masking: GuidedMasking, confidence: torch.Tensor, draws: int = 1
    ) -> torch.Tensor:
        """(draws, T) boolean masks of an utterance with (T,) frame confidences."""
        size = len(confidence)
        lengths, rows = torch.full((draws,), size), confidence.expand(draws, -1)
        return masking.draw(lengths, size, rows, ANNEALED)

    def start_distribution(self) -> torch.Tensor | None:
        """Where the first span of the last guided draw starts (eq. 3).

        Returns:
            (S,) probabilities; None where the guidance draws starts by none
            (``top_k``) or by unknown ones (the user's own).
        """
        confidence, options = self.observed.confidence.double(), self.observed.options

        def drawn_by(s: torch.Tensor) -> torch.Tensor:
            if options.temperature is None:
                return (options.power * s.clamp(min=EPS).log()).softmax(0)
            return (s.clamp(min=0.0) ** options.power / options.temperature).softmax(0)

        high, low = drawn_by(confidence), drawn_by(1.0 - confidence)
        known = {
            "high": high,
            "shuffled": high,
            "low": low,
            "mixed": options.high_share * high + (1 - options.high_share) * low,
            "uniform": torch.full_like(high, 1 / len(high)),
        }
        return known.get(self.guided.guidance)
