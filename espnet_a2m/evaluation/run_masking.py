"""The masks that a pre-training run draws, and its weights, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.core.config import ConfigError, check_kwargs
from espnet_a2m.core.frames import FrameGrid, interpolate_frames
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.losses.utterance_weight import UtteranceWeight
from espnet_a2m.masking.guidance import log_weights
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.masking.schedule import ANNEALED
from espnet_a2m.model.frontend import check_rate


class RunMasking:
    """How a pre-training run masks an utterance, at the end of the run.

    Args:
        conf: ``masking_conf``; annealed options have their last value.
        scorer_grid: Where the frames of the confidences are in the audio.
        encoder_grid: Where the encoder's are.
        width: Of the encoder's input.
        crop: Samples that training takes of an utterance at most; None: all.
        weight: How it weights utterances; None: as without a configuration, not at all.

    Raises:
        ConfigError: An option of ``conf`` is unknown or out of its range, or sampling
            rates differ.
    """

    def __init__(
        self,
        conf: Mapping[str, Any],
        scorer_grid: FrameGrid,
        encoder_grid: FrameGrid,
        width: int = 1024,
        crop: int | None = None,
        weight: UtteranceWeight | None = None,
    ):
        check_kwargs(GuidedMasking, conf, "masking_conf", given=("size",))
        try:
            self.guided = GuidedMasking(width, **conf)
            self.uniform = GuidedMasking(width, **{**conf, "guidance": "uniform"})
            check_rate("confidences", scorer_grid, encoder_grid)
        except ValueError as e:
            raise ConfigError(str(e)) from e
        self.scorer_grid, self.encoder_grid = scorer_grid, encoder_grid
        self.crop = crop
        self.weight = weight or UtteranceWeight()

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
            scorer_grid: As above.

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
            if preencoder := task.build("preencoder", args, input_size=size):
                size = preencoder.output_size()
            encoder = task.build("encoder", args, input_size=size)
        grid = task.frontend_grid(frontend, fs).after(task.input_convs(encoder))
        conf = {**args.masking_conf, **masking_conf}
        crop = None if crop is None else int(crop * fs)
        model = args.model_conf
        weight = UtteranceWeight(
            model.get("utterance_weight", "none"),
            model.get("utterance_weight_fraction", 1.0),
            model.get("utterance_weight_frames", "all"),
        )
        return cls(conf, scorer_grid, grid, encoder.output_size(), crop, weight)

    def read(self, scored: ScoredDataset, utt: str) -> tuple[np.ndarray, torch.Tensor]:
        """(N,) samples of an utterance and (T,) confidences of its encoder frames.

        They are those of its beginning where training crops it.
        """
        speech = scored.speech(utt)[: self.crop]
        num_frames = self.encoder_grid.num_frames(len(speech))
        confidence = torch.from_numpy(scored.confidence(utt)).float()[None]
        frames = torch.tensor([confidence.size(1)])
        grids = self.scorer_grid, self.encoder_grid
        return speech, interpolate_frames(confidence, frames, *grids, num_frames)[0]

    def draw(
        self, masking: GuidedMasking, confidence: torch.Tensor, draws: int = 1
    ) -> torch.Tensor:
        """(draws, T) boolean masks of an utterance with (T,) frame confidences."""
        size = len(confidence)
        lengths, rows = torch.full((draws,), size), confidence.expand(draws, -1)
        return masking.draw(lengths, size, rows, ANNEALED)

    def start_distribution(self, confidence: torch.Tensor) -> torch.Tensor | None:
        """(S,) probabilities that the first span of a guided mask starts there (eq. 3).

        ``confidence`` is (T,). None where the guidance draws starts by no probabilities
        (``top_k``) or by unknown ones (the user's own).
        """
        size, options = len(confidence), self.guided.guidance_options(ANNEALED)
        utterance = confidence[None], torch.tensor([size]), size
        starts, num_starts = self.guided.start_confidence(*utterance)
        s = starts[0, : num_starts[0]].double()
        high, low = (log_weights(x, options).softmax(0) for x in (s, 1.0 - s))
        known = {
            "high": high,
            "shuffled": high,
            "low": low,
            "mixed": options.high_share * high + (1 - options.high_share) * low,
            "uniform": torch.full_like(high, 1 / len(high)),
        }
        return known.get(self.guided.guidance)
