"""An ESPnet model's encoder output that does not depend on the rest of the batch.

ESPnet's own batched forward lets padding reach the last frames of a short utterance:
the STFT sees zeros where it would see the utterance's reflection, convolutions along
time read padded frames, UtteranceMVN's variance counts them, and the mask after the
input layer is cut relative to the longest utterance. Here the unmodified modules of
the model are called one after the other, each with what it would get if the utterance
were alone. Everything is computed on the model's device without asking it for values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from espnet2.asr.espnet_model import ESPnetASRModel

from espnet_a2m.compat.encoder_hooks import (
    convolutions_see_zeros,
    input_convs,
    input_layer,
    positional_encoding,
)
from espnet_a2m.compat.logmel import reflect_end
from espnet_a2m.core.frames import conv_lengths, padding_mask

E_BRANCHFORMER = "EBranchformerEncoder"
LEGACY_ATTENTION = "LegacyRelPositionMultiHeadedAttention"
KINDS = ("Conformer", "Transformer", "Branchformer", "EBranchformer")
ENCODERS = {f"{kind}Encoder" for kind in KINDS}
ATTENTIONS = {f"{x}MultiHeadedAttention" for x in ("", "RelPosition")}
ATTENTIONS.add(LEGACY_ATTENTION)
POSITIONS = {f"{x}PositionalEncoding" for x in ("", "Scaled", "Rel", "LegacyRel")}


def obstacle(model: ESPnetASRModel) -> str | None:
    """Why :func:`encode` does not know how to run a model; None if it does.

    The answer names the option of the model's configuration.
    """
    encoder, frontend = model.encoder, model.frontend
    if type(encoder).__name__ not in ENCODERS:
        return f"encoder: {type(encoder).__name__}"
    stft = getattr(frontend, "stft", None)
    if type(frontend).__name__ != "DefaultFrontend" or stft is None or not stft.center:
        return "frontend: not log-mel from the waveform with center: true"
    enhancement = frontend.frontend
    if enhancement and (enhancement.use_wpe or enhancement.use_beamformer):
        return "frontend_conf.frontend_conf: use_wpe or use_beamformer"
    for part, known in (
        ("normalize", ("NoneType", "GlobalMVN", "UtteranceMVN")),
        ("preencoder", ("NoneType", "LinearProjection")),
        ("postencoder", ("NoneType",)),
    ):
        if (name := type(getattr(model, part)).__name__) not in known:
            return f"{part}: {name}"
    if getattr(encoder, "interctc_use_conditioning", False):
        return "encoder_conf.interctc_use_conditioning"
    positions = positional_encoding(encoder)
    if (name := type(positions).__name__) not in POSITIONS:
        return f"encoder_conf.pos_enc_layer_type: {name}"
    for module in encoder.encoders.modules():
        name = type(module).__name__
        if name.endswith("Attention") and name not in ATTENTIONS:
            return f"encoder_conf: attention {name}"
    if any(padding for _, _, padding in input_convs(encoder)):
        return "encoder_conf.input_layer: padded convolutions"
    return None


def feature_lengths(model: ESPnetASRModel, lengths: torch.Tensor) -> torch.Tensor:
    """(B,) samples -> (B,) frames of log-mel; 0 where the STFT cannot reflect."""
    stft = model.frontend.stft
    return (lengths // stft.hop_length + 1) * (lengths > stft.n_fft // 2)


def normalise(module: Any, feats: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """ESPnet's GlobalMVN or UtteranceMVN of (B, T, D) over the frames ``inside``."""
    if type(module).__name__ == "GlobalMVN":
        feats = feats - module.mean.to(feats) if module.norm_means else feats
        return feats / module.std.to(feats) if module.norm_vars else feats
    count = inside.sum(1, keepdim=True).clamp(min=1)
    mean = (feats * inside).sum(1, keepdim=True) / count
    centred = feats - mean
    feats = centred if module.norm_means else feats
    if module.norm_vars:
        variance = (centred * inside).square().sum(1, keepdim=True) / count
        feats = feats / variance.sqrt().clamp(min=module.eps)
    return feats


@contextmanager
def legacy_positions_of_each(
    encoder: Any, lengths: torch.Tensor, num_frames: int
) -> Iterator[None]:
    """While open, ``rel_pos_type: legacy`` shifts positions by each own length.

    With L frames, the score of query i and key j takes column ``L - 1 - i + j`` of
    row i where ``j <= i``, nothing where ``j = i + 1``, and beyond it wraps around to
    row ``i + 1``, column ``j - i - 2``. ESPnet's takes the padded length for L.

    Args:
        encoder: Its own attention modules, not their class, shift so.
        lengths: (B,) numbers of frames.
        num_frames: T of the padded batch.
    """
    layers = encoder.encoders.modules()
    legacy = [x for x in layers if type(x).__name__ == LEGACY_ATTENTION]
    if not legacy:
        yield
        return
    frames = torch.arange(num_frames, device=lengths.device)
    query, key = frames[:, None], frames
    own = query * num_frames + lengths[:, None, None] - 1 - query + key
    wrapped = (query + 1) * num_frames + key - query - 2
    source = torch.where(key <= query, own, wrapped).clamp(0, num_frames**2 - 1)
    nothing = key == query + 1

    def shift(module):
        def rel_shift(scores):
            index = source[:, None].expand_as(scores).flatten(2)
            shifted = scores.flatten(2).gather(2, index).view_as(scores)
            shifted = shifted.masked_fill(nothing, 0.0)
            return shifted.tril() if module.zero_triu else shifted

        return rel_shift

    for module in legacy:
        module.rel_shift = shift(module)
    try:
        yield
    finally:
        for module in legacy:
            del module.rel_shift


def encode(
    model: ESPnetASRModel,
    speech: torch.Tensor,
    speech_lengths: torch.Tensor,
    num_layers: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What enters the CTC layer, for each utterance as if it were alone.

    Args:
        model: In evaluation mode, without an :func:`obstacle`.
        speech: (B, N) samples; anything beyond the lengths.
        speech_lengths: (B,) samples.
        num_layers: Encoder layers to run, for the intermediate CTC after them; all
            when None.

    Returns:
        (B, T, D), and (B,) numbers of frames; 0 where an utterance is too short for
        the STFT or the subsampling.
    """
    stft, encoder = model.frontend.stft, model.encoder
    convs = input_convs(encoder)
    feats_lengths = feature_lengths(model, speech_lengths)
    lengths = conv_lengths(feats_lengths, convs)
    longest = feature_lengths(model, torch.tensor([speech.size(1)]))  # on the CPU
    num_frames = int(conv_lengths(longest, convs))
    if not num_frames:
        return speech.new_zeros(len(speech), 0, encoder.output_size()), lengths

    spectrum, _ = stft(reflect_end(speech, speech_lengths, stft.n_fft // 2))
    real, imaginary = spectrum[:, : int(longest)].unbind(-1)
    power = real.square() + imaginary.square()
    feats, _ = model.frontend.logmel(power)
    if model.normalize is not None:
        inside = ~padding_mask(feats_lengths, feats.size(1))
        feats = normalise(model.normalize, feats, inside[..., None])
    if model.preencoder is not None:
        feats, _ = model.preencoder(feats, feats_lengths)

    inside = ~padding_mask(lengths, num_frames)
    mask = inside[:, None]
    with (
        convolutions_see_zeros(encoder, inside[..., None]),
        legacy_positions_of_each(encoder, lengths, num_frames),
    ):
        # what subsamples is not padded: frames do not see what lies beyond an utterance
        hidden = input_layer(encoder, feats)
        for layer in list(encoder.encoders)[:num_layers]:
            hidden, mask = layer(hidden, mask)
    if isinstance(hidden, tuple):  # with the positions that attention needs
        hidden = hidden[0]
    # ESPnet asks the intermediate CTC of E-Branchformer without the norm
    is_raw = num_layers is not None and type(encoder).__name__ == E_BRANCHFORMER
    if getattr(encoder, "normalize_before", True) and not is_raw:
        hidden = encoder.after_norm(hidden)
    return hidden, lengths
