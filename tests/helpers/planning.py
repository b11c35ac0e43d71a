"""What the tests of the planner share."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from espnet_a2m.training.estimate import Resources, estimate, load_args

TINY = Path(__file__).resolve().parents[2] / "conf" / "tiny"
#: Length of the utterance that is counted.
SECONDS = 8.0


def tiny_args(name: str = "ssl_w2vbert_conformer"):
    """Options of a tiny configuration, with larger batches and a known schedule."""
    config = yaml.safe_load((TINY / f"{name}.yaml").read_text(encoding="utf-8"))
    config |= {"batch_bins": 400_000, "max_epoch": 4}
    config["scheduler_conf"] = {"warmup_steps": 200}
    if "collate_fn_conf" in config:
        config["collate_fn_conf"] = {"crop_duration": 32.0}
    path = Path(tempfile.mkdtemp()) / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return load_args(path, num_tokens=30)


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
    basis = {"hours": 100.0, "gpu": "a100", "ngpu": 2, "utilisation": (0.2,)}
    return {x.name: x for x in estimate(args, count, Resources(**basis | resources))}
