"""Masked speech modelling with guided masking and utterance scaling."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import torch
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.frontend.cnn import CNNFrontend
from espnet2.asr.preencoder.abs_preencoder import AbsPreEncoder
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from espnet_a2m.compat.batch_invariant import normalise
from espnet_a2m.compat.encoder_hooks import (
    Captured,
    capture_layers,
    embed,
    input_convs,
    refuse_unusable,
)
from espnet_a2m.confidence.measures import utterance_confidence
from espnet_a2m.core.distributed import num_processes, sum_over_processes
from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.core.frames import conv_lengths, padding_mask
from espnet_a2m.losses.masked_frames import MaskedFrames
from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.quantizer import GumbelQuantizer
from espnet_a2m.losses.reduction import reduce
from espnet_a2m.losses.utterance_weight import UtteranceWeight
from espnet_a2m.masking.guidance_lift import masked_by_confidence
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.model.frontend import ConfidenceFrontend
from espnet_a2m.model.label_input import LabelInput


class A2MModel(AbsESPnetModel):
    """speech -> front end -> encoder's input -> guided mask -> encoder -> losses.

    Shapes: B utterances, N samples, T encoder frames, D width, M masked frames.

    Args:
        frontend: ESPnet front end.
        specaug: Augmentation of what the encoder gets, or None; targets are without
            it.
        normalize: Normalisation of the features, or None.
        preencoder: ESPnet pre-encoder, or None.
        encoder: Any ESPnet encoder that adds positions after its subsampling.
        masking: Draws and applies the mask.
        quantizer: Gives discrete targets to objectives that want them, or None.
        losses: Objectives, each with ``layer``, ``weight`` and ``name``.
        confidence: Brings confidences to the encoder's frames.
        labels: Brings pseudo-labels there, or None without.
        accum_grad: Batches in an update, for what changes with the updates.
        utterance_weight: ``none`` (ATM), ``confidence`` (ATM+S, eq. 9) or
            ``relative``; this and the next two: see :class:`UtteranceWeight`.
        utterance_weight_fraction: Share of utterances that are weighted.
        utterance_weight_frames: ``all`` (s_u is the stream ``utterance_confidence``
            where it is given) or ``masked``.
        feature_grad_mult: Scales the gradient of the front end; 0.1 in wav2vec 2.0
            base.
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
        quantizer: GumbelQuantizer | None,
        losses: list[Objective],
        confidence: ConfidenceFrontend,
        labels: LabelInput | None,
        accum_grad: int,
        utterance_weight: str = "none",
        utterance_weight_fraction: float = 1.0,
        utterance_weight_frames: str = "all",
        feature_grad_mult: float = 1.0,
        extract_feats_in_collect_stats: bool = True,
    ):
        super().__init__()
        self.utterance_weight = UtteranceWeight(
            utterance_weight, utterance_weight_fraction, utterance_weight_frames
        )
        refuse_unusable(encoder)
        if getattr(specaug, "apply_time_warp", False):
            raise ValueError(
                "specaug_conf.apply_time_warp moves frames away from their targets and "
                "confidences: set it to false; masks are fine"
            )
        needs_confidence = masking.needs_confidence or utterance_weight != "none"
        if needs_confidence and confidence.scorer_grid is None:
            raise ValueError(
                f"guidance={masking.guidance}, utterance_weight={utterance_weight} "
                "need confidences: give --confidence_grid and a stream named "
                "confidence, or --online_scorer_conf, or choose guidance: uniform, "
                "utterance_weight: none"
            )
        on_labels = [loss.name for loss in losses if loss.needs_labels]
        if labels is None and on_labels:
            raise ValueError(
                f"the objective {on_labels[0]} needs labels: run bin.labels and "
                "give --label_grid and a stream named labels"
            )
        self.frontend = frontend
        self.specaug = specaug
        self.normalize = normalize
        self.preencoder = preencoder
        self.encoder = encoder
        self.masking = masking
        self.quantizer = quantizer
        self.losses = torch.nn.ModuleList(losses)
        self.confidence = confidence
        self.labels = labels
        self.fs = confidence.encoder_grid.fs
        self.accum_grad = accum_grad
        self.feature_grad_mult = feature_grad_mult
        self.extract_feats_in_collect_stats = extract_feats_in_collect_stats
        self.num_layers = len(encoder.encoders)
        self.input_convs = input_convs(encoder)
        self.loss_names = unique_names(losses, self.num_layers)
        self.num_batches: torch.Tensor
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    @property
    def updates(self) -> torch.Tensor:
        """0-dim, number of updates so far, on the device."""
        return self.num_batches // self.accum_grad

    def collect_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """Features before normalisation, for ESPnet's ``--collect_stats``."""
        feats, feats_lengths = self.frontend(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": feats_lengths}

    def features(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, S, F) of the front end, and numbers of frames (B,).

        Float32 under autocast, too: power of quiet audio is below half precision.
        """
        # A trained CNN has layer norms and is most of a step: half precision, as in
        # fairseq and ESPnet's SSL task.
        is_cnn = isinstance(self.frontend, CNNFrontend)
        with nullcontext() if is_cnn else without_autocast(speech):
            return self.frontend(speech, speech_lengths)

    def encoder_input(
        self, feats: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the front end gave -> what enters the encoder, and its lengths (B,)."""
        if self.normalize is not None:
            inside = ~padding_mask(lengths, feats.size(1))[..., None]
            with without_autocast(feats):
                feats = normalise(self.normalize, feats.float(), inside)
            feats = feats.masked_fill(~inside, 0.0)
        if self.preencoder is not None:
            feats, lengths = self.preencoder(feats, lengths)
        return feats, lengths

    def forward(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **streams: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """One step of masked speech modelling.

        Args:
            speech: (B, N) waveforms.
            speech_lengths: (B,) samples.
            **streams: Of the uncropped utterances: ``confidence`` (B, T_scorer),
                ``utterance_confidence`` (B, 1) and ``labels`` (B, T_labels), each
                with its ``*_lengths``; ``speech_start``
                (B,), where ``speech`` was cropped, in samples. ``utt_id`` is for
                messages; other streams are not read.

        Returns:
            Loss, statistics to report, and the number of masked frames, which is
            ESPnet's weight of a batch. With these weights the mean over processes of
            what they return is the loss of all their utterances together.

        Raises:
            DataError: A stream is missing, or all utterances are too short.
        """
        feats, feats_lengths = self.features(speech, speech_lengths)
        if self.feature_grad_mult != 1.0 and feats.requires_grad:
            feats.register_hook(lambda grad: grad * self.feature_grad_mult)
        encoder_in, encoder_in_lengths = self.encoder_input(feats, feats_lengths)
        lengths = conv_lengths(encoder_in_lengths, self.input_convs)
        padded = torch.tensor(encoder_in.size(1))  # on the host
        num_frames = int(conv_lengths(padded, self.input_convs))
        if num_frames == 0:
            raise DataError(
                f"utterances {preview(streams.get('utt_id', ()))}: too short for the "
                "encoder's input layer: raise --min_wav_duration"
            )

        with without_autocast(speech):  # a scorer has a front end of its own
            confidence, s_u = self.confidence(
                speech, speech_lengths, num_frames, streams
            )
        mask = self.masking.draw(lengths, num_frames, confidence, self.updates)
        augmented = encoder_in
        if self.specaug is not None and self.training:
            # a copy: ESPnet's SpecAug writes into what it is given
            masked_feats, _ = self.specaug(feats.clone(), feats_lengths)
            augmented, _ = self.encoder_input(masked_feats, feats_lengths)
        captured = capture_layers(
            self.encoder,
            augmented,
            encoder_in_lengths,
            {loss.layer for loss in self.objectives if loss.layer is not None},
            replace=lambda x: self.masking.replace(x, mask, self.updates),
        )
        if augmented is not encoder_in and self.quantizer is not None:
            with nullcontext() if self.quantizer.input_grad else torch.no_grad():
                captured = captured._replace(embedded=embed(self.encoder, encoder_in))
        labels = None if self.labels is None else self.labels(num_frames, streams)
        batch = MaskedBatch(
            frames=MaskedFrames.pack(mask, self.masking.max_count(num_frames)),
            lengths=lengths,
            feats=feats,
            feats_lengths=feats_lengths,
            labels=labels,
        )
        num_masked = batch.frames.count.sum().clamp(min=1).float()
        # ESPnet multiplies a process's loss with its share of the masked frames
        scale = sum_over_processes(num_masked) / num_masked
        with without_autocast(speech):
            loss, stats = self.compute_loss(
                batch, mask, confidence, s_u, captured, scale
            )
        if self.training:
            self.num_batches += 1
        stats = {k: v.detach() for k, v in stats.items()}
        return force_gatherable((loss, stats, num_masked), loss.device)

    @property
    def objectives(self) -> list[Objective]:
        """The losses."""
        return list(self.losses)  # type: ignore[arg-type]

    def end_validation(self) -> dict[str, float]:
        """Objective -> entropy in nats of what it had to predict in this validation."""
        named = zip(self.loss_names, self.objectives, strict=True)
        return {name: x.usage.end_validation() for name, x in named if x.usage}

    def compute_loss(
        self,
        batch: MaskedBatch,
        mask: torch.Tensor,
        confidence: torch.Tensor | None,
        s_u: torch.Tensor | None,
        captured: Captured,
        scale: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted sum of the objectives and the statistics, all in float32.

        Args:
            batch: What the objectives predict.
            mask: (B, T) True where masked.
            confidence: (B, T) at the encoder's frames, or None.
            s_u: (B,) confidences of the utterances; None: the means of the frames'.
            captured: The encoder's input before the mask, and its layers.
            scale: Of this process's share of the losses (0-dim).
        """
        frames, lengths = batch.frames, batch.lengths
        stats = {"masked_fraction": mask.sum() / lengths.sum()}
        utterance_weight = None
        if confidence is not None:
            utterance_weight = self.utterance_weight(confidence, lengths, mask, s_u)
            mean = utterance_confidence(confidence, lengths)
            count = mask.sum().clamp(min=1)
            stats["confidence_masked"] = (confidence * mask).sum() / count
            stats["confidence_all"] = (mean * lengths).sum() / lengths.sum()
            quarter = (lengths // 4).sum().clamp(min=1)
            least, most = masked_by_confidence(mask, confidence, lengths)
            stats["masked_least_confident"] = least / quarter
            stats["masked_most_confident"] = most / quarter
        stats["utterance_weight"] = (
            torch.ones_like(stats["masked_fraction"])
            if utterance_weight is None
            else utterance_weight.mean()
        )

        loss = torch.zeros((), device=mask.device)
        if self.quantizer is not None:
            embedded = self.quantizer.prepare(captured.embedded, lengths)
            codes = self.quantizer(frames.take(embedded), frames.valid, self.updates)
            batch.codes = codes
            share = codes.diversity / num_processes()
            loss = loss + self.quantizer.diversity_weight * share * scale
            stats.update(
                loss_diversity=codes.diversity,
                code_perplexity=codes.code_perplexity,
                prob_perplexity=codes.prob_perplexity,
                gumbel_temperature=codes.temperature,
            )
        # the last layer with the encoder's final norm
        hidden = captured.layers | {self.num_layers: captured.output}
        for name, objective in zip(self.loss_names, self.objectives, strict=True):
            at_masked = None
            if objective.layer is not None:
                at_masked = frames.take(hidden[objective.layer]).float()
            term = objective(at_masked, batch)
            value = reduce(term, utterance_weight if objective.masked else None) * scale
            loss = loss + objective.weight * value
            stats[f"loss_{name}"] = value
            stats.update({f"{key}_{name}": x for key, x in term.stats.items()})
        stats["loss"] = loss
        return loss, stats


def without_autocast(x: torch.Tensor) -> torch.autocast:
    """A context in which operations on the device of ``x`` keep their precision."""
    return torch.autocast(x.device.type, enabled=False)


def unique_names(losses: list[Objective], num_layers: int) -> list[str]:
    """Names for the statistics; of objectives that occur twice, with their layer.

    Raises:
        ValueError: A layer that the encoder has not, or twice the same objective on
            the same layer.
    """
    for loss in losses:
        if loss.layer is not None and not 1 <= loss.layer <= num_layers:
            raise ValueError(
                f"loss {loss.name}: layer={loss.layer}, but the encoder has "
                f"layers 1 to {num_layers}"
            )
    count = Counter(loss.name for loss in losses)
    names = [x.name if count[x.name] == 1 else f"{x.name}_{x.layer}" for x in losses]
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"loss {name}: given {times} times: leave one")
    return names
