"""Masked speech modelling with guided masking and utterance scaling."""

from __future__ import annotations

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.preencoder.abs_preencoder import AbsPreEncoder
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_a2m.confidence import utterance_confidence
from espnet_a2m.encoder_input import input_convs, tap
from espnet_a2m.errors import DataError
from espnet_a2m.frame_grid import FrameGrid, conv_lengths, frontend_grid
from espnet_a2m.frontend import ConfidenceFrontend
from espnet_a2m.losses.objective import Objective
from espnet_a2m.losses.quantizer import GumbelQuantizer, standardise
from espnet_a2m.losses.reduction import UTTERANCE_WEIGHTS, MaskedFrames, reduce
from espnet_a2m.masking import GuidedMasking


class A2MModel(AbsESPnetModel):
    """speech -> front end -> encoder's input -> guided mask -> encoder -> losses.

    Shapes: B utterances, N samples, T encoder frames, D width, M masked frames.

    Args:
        frontend: ESPnet front end.
        specaug: Augmentation of the features, or None.
        normalize: Normalisation of the features, or None.
        preencoder: ESPnet pre-encoder, or None.
        encoder: Any ESPnet encoder that adds positions after its subsampling.
        masking: Draws and applies the mask.
        quantizer: Makes the discrete targets.
        losses: Objectives, each with ``layer``, ``weight`` and ``name``.
        confidence_grid: The scorer's frame grid, or None without confidences.
        utterance_weight: ``none`` (ATM) or ``confidence`` (ATM+S, eq. 9).
        extract_feats_in_collect_stats: False skips the features in ESPnet's
            ``--collect_stats``.

    Raises:
        ValueError: Options that contradict each other.
    """

    def __init__(
        self,
        frontend: AbsFrontend,
        specaug: AbsSpecAug | None,
        normalize: AbsNormalize | None,
        preencoder: AbsPreEncoder | None,
        encoder: AbsEncoder,
        masking: GuidedMasking,
        quantizer: GumbelQuantizer,
        losses: list[Objective],
        confidence_grid: FrameGrid | None = None,
        utterance_weight: str = "none",
        extract_feats_in_collect_stats: bool = True,
    ):
        super().__init__()
        if utterance_weight not in UTTERANCE_WEIGHTS:
            raise ValueError(
                f"model_conf: utterance_weight={utterance_weight!r}: choose one of "
                + ", ".join(UTTERANCE_WEIGHTS)
            )
        self.needs_confidence = (
            masking.guidance != "uniform" or utterance_weight != "none"
        )
        if self.needs_confidence and confidence_grid is None:
            raise ValueError(
                f"guidance={masking.guidance}, utterance_weight={utterance_weight} "
                "need confidences: give --confidence_grid and a stream named "
                "confidence, or choose guidance: uniform, utterance_weight: none"
            )
        self.frontend = frontend
        self.specaug = specaug
        self.normalize = normalize
        self.preencoder = preencoder
        self.encoder = encoder
        self.masking = masking
        self.quantizer = quantizer
        self.losses = torch.nn.ModuleList(losses)
        self.utterance_weight = utterance_weight
        self.extract_feats_in_collect_stats = extract_feats_in_collect_stats

        self.num_layers = len(encoder.encoders)
        for loss in losses:
            if not 1 <= loss.layer <= self.num_layers:
                raise ValueError(
                    f"loss {loss.name}: layer={loss.layer}, but the encoder has "
                    f"layers 1 to {self.num_layers}"
                )
        self.input_convs = input_convs(encoder)
        encoder_grid = frontend_grid(frontend).after(self.input_convs)
        self.fs = encoder_grid.fs
        self.confidence = None
        if confidence_grid is not None:
            self.confidence = ConfidenceFrontend(confidence_grid, encoder_grid)

    @property
    def objectives(self) -> list[Objective]:
        """The losses."""
        return list(self.losses)  # type: ignore[arg-type]

    def collect_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """Features before normalisation, for ESPnet's ``--collect_stats``."""
        feats, feats_lengths = self.frontend(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": feats_lengths}

    def extract_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) waveforms -> what enters the encoder, and its lengths (B,)."""
        feats, lengths = self.frontend(speech, speech_lengths)
        if self.specaug is not None and self.training:
            feats, lengths = self.specaug(feats, lengths)
        if self.normalize is not None:
            feats, lengths = self.normalize(feats, lengths)
        if self.preencoder is not None:
            feats, lengths = self.preencoder(feats, lengths)
        return feats, lengths

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        confidence: torch.Tensor | None = None,
        confidence_lengths: torch.Tensor | None = None,
        speech_start: torch.Tensor | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """One step of masked speech modelling.

        Args:
            speech: (B, N) waveforms.
            speech_lengths: (B,) samples.
            confidence: (B, T_scorer) frame confidences of the whole utterances.
            confidence_lengths: (B,) frames of the scorer.
            speech_start: (B,) where ``speech`` was cropped, in samples.
            **kwargs: ``utt_id`` and streams that the objectives do not use.

        Returns:
            Loss, statistics to report, and the number of masked frames as
            weight: the mean of the objectives over processes is then the mean over
            frames. The diversity loss is that of each process's own frames.
        """
        if self.needs_confidence and confidence is None:
            raise DataError(
                "the data have no stream named confidence, which guidance and "
                "utterance_weight need: add "
                "--{train,valid}_data_path_and_name_and_type "
                ".../confidence.scp,confidence,kaldi_ark"
            )
        feats, feats_lengths = self.extract_feats(speech, speech_lengths)
        lengths = conv_lengths(feats_lengths, self.input_convs)
        masked: dict[str, torch.Tensor] = {}

        def mask_input(features: torch.Tensor) -> torch.Tensor:
            if self.confidence is not None and confidence is not None:
                masked["confidence"] = self.confidence(
                    confidence, confidence_lengths, features.size(1), speech_start
                )
            masked["features"] = features
            masked["mask"] = self.masking.draw(
                lengths, features.size(1), masked.get("confidence")
            )
            return self.masking.replace(features, masked["mask"])

        layers = {loss.layer for loss in self.objectives}
        with tap(self.encoder, mask_input, layers) as hidden:
            output = self.encoder(feats, feats_lengths)[0]
        hidden[self.num_layers] = output  # with the encoder's final norm

        return self.compute_loss(masked, hidden, lengths)

    def compute_loss(
        self,
        masked: dict[str, torch.Tensor],
        hidden: dict[int, torch.Tensor],
        lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """From what the encoder was given and answered to the weighted loss."""
        mask, features = masked["mask"], masked["features"]
        frames = MaskedFrames.pack(mask, self.masking.max_count(mask.size(1)))
        # targets only: the input layer learns through the encoder, or it would
        # learn to make codes that are easily told apart
        targets = standardise(features.detach(), lengths)
        codes = self.quantizer(frames.take(targets), frames.valid)
        count = frames.count
        weight = torch.ones_like(count, dtype=torch.float32)
        stats = {}
        if "confidence" in masked:
            s_t = masked["confidence"]
            s_u = utterance_confidence(s_t, lengths)
            if self.utterance_weight == "confidence":
                weight = s_u.float()
            stats["confidence_masked"] = (s_t * mask).sum() / mask.sum().clamp(min=1)
            stats["confidence_all"] = (s_u * lengths).sum() / lengths.sum()

        loss = self.quantizer.diversity_weight * codes.diversity
        for objective in self.objectives:
            term = objective(frames.take(hidden[objective.layer]), codes, frames.valid)
            value = reduce(term.frame_loss, count, weight)
            loss = loss + objective.weight * value
            stats[f"loss_{objective.name}"] = value
            stats.update(term.stats)

        stats.update(
            loss=loss,
            loss_diversity=codes.diversity,
            code_perplexity=codes.code_perplexity,
            prob_perplexity=codes.prob_perplexity,
            gumbel_temperature=codes.temperature,
            masked_fraction=mask.sum() / lengths.sum(),
            utterance_weight=weight.mean(),
        )
        if self.training:
            self.quantizer.num_batches += 1
        stats = {k: v.detach() for k, v in stats.items()}
        frames_in_all = count.sum().clamp(min=1).float()
        return force_gatherable((loss, stats, frames_in_all), loss.device)
