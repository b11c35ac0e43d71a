"""A scorer from a Hugging Face CTC model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from espnet_a2m.confidence.ctc import CTCScorer
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import FrameGrid, TimeConv, conv_lengths

try:
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC
except ImportError as e:
    raise UserError(f"--scorer hf: pip install espnet_a2m[hf] ({e})") from e

#: Models on the waveform whose frames follow from conv_kernel and conv_stride alone
MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")


def waveform_convs(config: Any) -> list[TimeConv]:
    """What makes frames of the waveform, by a model's configuration.

    Raises UserError: it does not say.
    """
    try:
        convs = zip(config.conv_kernel, config.conv_stride, strict=True)
        return [(kernel, stride, 0) for kernel, stride in convs]
    except (AttributeError, TypeError):
        name = getattr(config, "model_type", type(config).__name__)
        raise UserError(
            f"{name}: where its frames are is not known: its configuration has no "
            "conv_kernel and conv_stride, as those of models on the waveform have"
        ) from None


class HuggingFaceScorer(CTCScorer):
    """CTC posteriors of wav2vec 2.0, HuBERT, WavLM or data2vec-audio.

    Utterances are run one at a time, or together where they are of one length:
    padding would change the scores of models with group normalisation, and the
    feature extractor's own normalisation is of one utterance. Only safetensors and
    files that hold tensors alone are read.

    Args:
        model: Folder written by ``save_pretrained``, or a name on the hub.
        measure, blank, temperature: As of `espnet_a2m.confidence.measures`.

    Raises:
        UserError: The model cannot be read, or its frame rate is not known here.
        ValueError: Options of the measure that do not go together.
    """

    def __init__(
        self,
        model: str,
        measure: str = "max_prob",
        blank: str = "exclude",
        temperature: float = 1.0,
    ):
        try:
            config = AutoConfig.from_pretrained(model)
            has_adapter = getattr(config, "add_adapter", False)
            if config.model_type not in MODEL_TYPES or has_adapter:
                raise UserError(
                    f"{model}: where the frames of a {config.model_type} model are is "
                    f"not known; use one of {', '.join(MODEL_TYPES)} without "
                    "add_adapter"
                )
            self.extractor = AutoFeatureExtractor.from_pretrained(model)
            network, loading = AutoModelForCTC.from_pretrained(
                model,
                dtype=torch.float32,  # whatever it was saved in
                output_loading_info=True,
                weights_only=True,
            )
        except UserError:
            raise
        except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as e:
            local = "" if Path(model).is_dir() else " (and there is no such folder)"
            raise UserError(
                f"{model}: no CTC model with preprocessor_config.json that "
                f"transformers can read{local}: {e}"
            ) from e
        missing = set(loading["missing_keys"])
        for name, values in network.named_parameters():
            if name.endswith(
                "masked_spec_embed"
            ):  # only training masks: often not kept
                missing.discard(name)
                values.data.zero_()
        if missing:
            raise UserError(
                f"{model}: parameters are missing, such as {sorted(missing)[0]}: it "
                "was not fine-tuned with CTC"
            )
        described = {"model": config.to_dict(), "features": self.extractor.to_dict()}
        options = measure, blank, temperature
        super().__init__(network, described, *options, blank_id=config.pad_token_id)
        self.convs = waveform_convs(config)
        self.grid = FrameGrid.of_convs(self.extractor.sampling_rate, self.convs)

    def logits(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the base."""
        frames = conv_lengths(speech_lengths, self.convs)
        shape = len(speech), int(frames.max()), self.model.config.vocab_size
        rows = speech.new_zeros(shape)
        for samples in speech_lengths[frames > 0].unique().tolist():
            same = (speech_lengths == samples).nonzero()[:, 0]
            audio = list(speech[same, :samples].cpu().numpy())
            features = self.extractor(
                audio, sampling_rate=self.grid.fs, return_tensors="pt"
            )
            logits = self.model(features.input_values.to(speech.device)).logits
            rows[same, : logits.size(1)] = logits.to(rows)
        return rows, frames
