"""Reach into an unmodified ESPnet encoder: its masked input and its layers.

Every ESPnet encoder ends its input layer (``encoder.embed``) with the module
that adds positions. What enters that module is the subsampled feature
sequence: it is read and masked there, so that any encoder works with its own
subsampling and masked frames keep their positions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from espnet_a2m.compat.batch_norm import statistics_of_utterances
from espnet_a2m.core.frames import TimeConv, conv_lengths, padding_mask


def refuse_unusable(encoder: torch.nn.Module) -> None:
    """Raise ``ValueError`` for options that pre-training cannot have.

    They leave out layers of a step, or are of another task, or give no place to mask.
    """
    positional_encoding(encoder)
    if getattr(encoder, "interctc_layer_idx", None):
        raise ValueError(
            "encoder_conf.interctc_layer_idx: intermediate CTC belongs to fine-tuning, "
            "which may add it: leave it out here, and give each loss its `layer:`"
        )
    for option in ("layer_drop_rate", "gradient_checkpoint_layers"):
        stack = getattr(encoder, "encoders", None)
        if getattr(encoder, option, None) or getattr(stack, option, None):
            raise ValueError(
                f"encoder_conf.{option} does not go with masked speech modelling, "
                "which reads every layer of every step: leave it out"
            )


def _position_modules(layer: torch.nn.Module) -> Iterator[torch.nn.Module]:
    for module in layer.modules():
        name = type(module).__name__
        if name.endswith(("PositionalEncoding", "PositionalEmbedding")):
            yield module


def positional_encoding(encoder: torch.nn.Module) -> torch.nn.Module:
    """The module that adds positions at the end of the encoder's input layer.

    Raises:
        ValueError: The encoder has none, so there is no place to mask.
    """
    layer = getattr(encoder, "embed", None)
    if isinstance(layer, torch.nn.Module):
        for module in _position_modules(layer):
            return module
    raise ValueError(
        f"encoder {type(encoder).__name__}: its input layer adds no positions, so "
        "there is nowhere to mask; set encoder_conf.input_layer to conv2d or linear"
    )


def input_convs(encoder: torch.nn.Module) -> list[TimeConv]:
    """(kernel, stride, padding) along time of the encoder's subsampling.

    ESPnet's input layers register their convolutions in the order in which
    they are applied, and time is the first convolved axis.

    Raises:
        ValueError: Where the frames of such an encoder are is not known here.
    """
    name, layer = type(encoder).__name__, getattr(encoder, "embed", None)
    if name == "VGGRNNEncoder":
        return [(2, 2, 0)] * 2  # its pooling
    if name == "RNNEncoder":
        (rnn,) = encoder.enc  # type: ignore[misc,union-attr]
        factors = getattr(rnn, "subsample", [1])  # of the layers that skip frames
        return [(1, int(factor), 0) for factor in factors if factor > 1]
    if not hasattr(encoder, "embed"):
        raise ValueError(f"encoder {name}: where its frames are is not known")
    if layer is None:  # input_layer: null
        return []
    positions = {m for top in _position_modules(layer) for m in top.modules()}
    return [
        (module.kernel_size[0], module.stride[0], int(module.padding[0]))
        for module in layer.modules()
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d)
        and module not in positions
    ]


def input_layer(encoder: Any, features: torch.Tensor) -> Any:
    """Output of ``encoder.embed``: (B, T, D), or a tuple of it and positions."""
    if isinstance(encoder.embed, torch.nn.Sequential):
        return encoder.embed(features)
    return encoder.embed(features, None)[0]


def embed(encoder: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """(B, S, F) -> (B, T, D), features after the encoder's subsampling."""
    seen: list[torch.Tensor] = []
    positions = positional_encoding(encoder)
    with positions.register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        input_layer(encoder, features)
    return seen[0]


@contextmanager
def convolutions_see_zeros(
    encoder: torch.nn.Module, inside: torch.Tensor
) -> Iterator[None]:
    """While open, what enters a convolution along time is 0 outside an utterance.

    That is what the convolution's own padding gives an utterance that is alone.

    Args:
        encoder: Any ESPnet encoder; of its layers and its positions, not of the rest of
            its input layer.
        inside: (B, T, 1) True in utterances.
    """
    outside = ~inside.transpose(1, 2)  # (B, 1, T), as convolutions see time

    def hide(module, args):
        return (args[0].masked_fill(outside, 0.0),)

    tops: list[torch.nn.Module] = [encoder.encoders]  # type: ignore[list-item]
    if isinstance(layer := getattr(encoder, "embed", None), torch.nn.Module):
        tops += _position_modules(layer)
    with ExitStack() as handles:
        for module in {module for top in tops for module in top.modules()}:
            if isinstance(module, torch.nn.Conv1d) and module.kernel_size[0] > 1:
                handles.enter_context(module.register_forward_pre_hook(hide))
        yield


@functools.cache  # asked in every step
def _takes_masks(forward: Callable[..., Any]) -> bool:
    return "masks" in inspect.signature(forward).parameters


def encode(
    encoder: torch.nn.Module, features: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """The encoder's output (B, T, D), whatever the padding, without waiting for the
    device.

    ESPnet's encoders look up the longest length on the host unless they are given
    the padding (branchformer cannot be). Their subsampling keeps up to two frames too
    many of utterances that are not the longest, their convolutions read padded frames,
    and batch normalisation counts them: here none of these sees padding.

    Args:
        encoder: Any ESPnet encoder.
        features: (B, S, F).
        lengths: (B,) numbers of features.
    """
    masks = {}
    if _takes_masks(type(encoder).forward):
        masks = {"masks": padding_mask(lengths, features.size(1))}
    convs = input_convs(encoder)
    num_frames = int(conv_lengths(torch.tensor(features.size(1)), convs))
    inside = ~padding_mask(conv_lengths(lengths, convs), num_frames)

    def give_mask(module, args, output):
        return output[0], inside[:, None]

    layer: torch.nn.Module = encoder.embed  # type: ignore[assignment]
    with ExitStack() as handles:
        if not isinstance(layer, torch.nn.Sequential):  # which does not subsample
            handles.enter_context(layer.register_forward_hook(give_mask))
        handles.enter_context(convolutions_see_zeros(encoder, inside[..., None]))
        handles.enter_context(statistics_of_utterances(encoder, inside[..., None]))
        return encoder(features, lengths, **masks)[0]


class Captured(NamedTuple):
    """What an encoder's forward gives, and what it sees on the way.

    Attributes:
        embedded: (B, T, D) features after the encoder's subsampling.
        layers: Layer, counted from 1 -> (B, T, D) its output.
        output: (B, T, D) of the encoder: the last layer after the final norm.
    """

    embedded: torch.Tensor
    layers: dict[int, torch.Tensor]
    output: torch.Tensor


def capture_layers(
    encoder: torch.nn.Module,
    features: torch.Tensor,
    lengths: torch.Tensor,
    layers: Iterable[int],
    replace: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Captured:
    """Encode, and keep outputs of layers.

    Args:
        encoder: Any ESPnet encoder with ``embed`` and ``encoders``.
        features: (B, S, F).
        lengths: (B,) numbers of features.
        layers: Layers to keep, counted from 1.
        replace: Gets ``embedded`` and returns what the encoder's layers get.
    """
    embedded = features
    outputs: dict[int, torch.Tensor] = {}

    def before_positions(module, args):
        nonlocal embedded
        embedded = args[0]
        return (embedded if replace is None else replace(embedded), *args[1:])

    def keep_output(layer):
        def after_layer(module, args, output):
            hidden = output[0]  # (x, mask), where x may be (x, positions)
            outputs[layer] = hidden[0] if isinstance(hidden, tuple) else hidden

        return after_layer

    stack: torch.nn.ModuleList = encoder.encoders  # type: ignore[assignment]
    with ExitStack() as handles:
        positions = positional_encoding(encoder)
        handles.enter_context(positions.register_forward_pre_hook(before_positions))
        for i in layers:
            hook = stack[i - 1].register_forward_hook(keep_output(i))
            handles.enter_context(hook)
        output = encode(encoder, features, lengths)
    return Captured(embedded, outputs, output)
