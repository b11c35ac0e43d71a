"""What the tests of the planner share."""

from __future__ import annotations

from pathlib import Path

from espnet_a2m.training.estimate import Resources, estimate, load_args

TINY = Path(__file__).resolve().parents[2] / "conf" / "tiny"
#: Length of the utterance that is counted.
SECONDS = 8.0


def tiny_args(name: str = "ssl_w2vbert_conformer"):
    """Options of a tiny configuration."""
    return load_args(TINY / f"{name}.yaml", num_tokens=30)


def conformer_flops(frames: int, width: int, units: int, kernel: int) -> int:
    """Forward pass of a conformer layer, from its definition."""
    linear = frames * width * (4 * units + 4 * width + 3 * width)  # FFs, q k v o, conv
    positions = (2 * frames - 1) * width * width  # relative positions are projected
    # q k, q positions, attention x v
    attention = frames * width * (frames + (2 * frames - 1) + frames)
    return 2 * (linear + positions + attention + frames * width * kernel)


def argparse_copy(args, **changes):
    """Options with some changed."""
    return type(args)(**{**vars(args), **changes})


def values(args, count, **resources):
    """Name -> value of the estimates."""
    return {x.name: x.value for x in lines(args, count, **resources).values()}


def lines(args, count, **resources):
    """Name -> estimate."""
    basis = {"hours": 100.0, "gpu": "a100", "ngpu": 2, "utilisation": (0.2, 0.2)}
    return {x.name: x for x in estimate(args, count, Resources(**basis | resources))}
