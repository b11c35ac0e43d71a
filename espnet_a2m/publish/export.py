"""Export a pre-trained model for stock ESPnet's ``frontend: espnet_ssl``.

That front end builds ESPnet's own SSL model from the ``config.yaml`` beside a
checkpoint and loads the keys that match. The export is therefore written by ESPnet's
classes, read back by them and compared before it is renamed.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from espnet2.tasks import ssl as stock
from espnet2.tasks.ssl import SSLTask

from espnet_a2m.compat.encoder_hooks import capture_layers
from espnet_a2m.compat.load import load_trained_model
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError, preview
from espnet_a2m.model.model import A2MModel
from espnet_a2m.training.task import A2MTask

MODEL, CONFIG = "model.pth", "config.yaml"
# The parts that both models have; they hold all parameters.
PARTS = ("frontend", "normalize", "preencoder", "encoder")
TOLERANCE = 1e-5
HEADER = """\
# A pre-trained model for ESPnet's `frontend: espnet_ssl`, written by
# `python -m espnet_a2m.bin.export`. It needs nothing of espnet_a2m.
"""
MOVED = """\
# ESPnet wants the absolute path of normalize_conf.stats_file: set it to the file that
# lies beside this one if you move this directory.
"""


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """The options of a pre-training configuration for ESPnet's own SSL task.

    Raises UserError: ESPnet's task does not have the class of an option.
    """
    kept: dict[str, Any] = {"token_list": ["<unk>"], "input_size": None, "init": None}
    for name in ("frontend", "specaug", "normalize", "preencoder", "encoder"):
        choices, choice = getattr(stock, f"{name}_choices"), config.get(name)
        if choice is not None and str(choice).lower() not in choices.classes:
            raise UserError(
                f"{name}: {choice}: ESPnet's `frontend: espnet_ssl` knows only "
                f"{', '.join(choices.classes)}; fine-tune such a model by --init_param"
            )
        kept |= {name: choice, f"{name}_conf": dict(config.get(f"{name}_conf") or {})}
    if kept["encoder_conf"].get("interctc_layer_idx"):
        raise UserError(
            "encoder_conf.interctc_layer_idx: ESPnet's `frontend: espnet_ssl` cannot "
            "read the layers of such an encoder; fine-tune it by --init_param"
        )
    # ESPnet requires masking, which it builds for a loss only: a small one
    loss = {"name": "hubert", "conf": {"num_classes": 1, "final_dim": 1}}
    kept |= {"loss": [loss], "util": [{"name": "mask", "conf": {}}], "model_conf": {}}
    return kept | {"model": "espnet", "version": config.get("version")}


def portable_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters under names that both supported releases of ESPnet read.

    202611 renamed parts of all subsampling layers but `conv2d8`. It still reads the old
    names; 202511 would ignore the new ones and leave the layer random.
    """
    state = model.state_dict()
    embed: Any = type(model.encoder.embed)  # type: ignore[union-attr]
    reads_old_names = (
        embed._load_from_state_dict is not torch.nn.Module._load_from_state_dict
    )
    if reads_old_names and embed.__name__ != "Conv2dSubsampling8":
        for new, old in (("out.", "out.0."), ("pos_enc.", "out.1.")):
            new, old = f"encoder.embed.{new}", f"encoder.embed.{old}"
            state = {key.replace(new, old, 1): x for key, x in state.items()}
    return dict(state)


@torch.inference_mode()
def our_layers(
    model: A2MModel, speech: torch.Tensor, lengths: torch.Tensor
) -> list[torch.Tensor]:
    """(B, T, D) outputs of each layer, and after the encoder's final norm.

    That is what `frontend: espnet_ssl` reads of ESPnet's model. ``speech`` is (B, N).
    """
    encoder_in, lengths = model.encoder_input(*model.frontend(speech, lengths))
    numbers = range(1, model.num_layers + 1)
    captured = capture_layers(model.encoder, encoder_in, lengths, numbers)
    return [*(captured.layers[i] for i in numbers), captured.output]


def check(model: A2MModel, model_file: Path) -> None:
    """Read an export as ESPnet does and compare its outputs with the model's.

    Raises UserError: parameters are missing or unexpected, or outputs differ.
    """
    exported, _ = SSLTask.build_model_from_file(None, model_file)
    state = torch.load(model_file, weights_only=True)
    # ESPnet would ignore what does not match
    missing, unexpected = exported.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise UserError(
            f"{model_file}: ESPnet would not find {preview(missing) or 'nothing'} and "
            f"ignore {preview(unexpected) or 'nothing'}: not exported"
        )
    noise = torch.randn(2, model.fs, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([model.fs, model.fs])  # ESPnet's depend on padding
    ours = our_layers(model.eval(), noise, lengths)
    with torch.inference_mode():
        final, layers, _ = exported.eval().inference_encode(noise, lengths)
    theirs = [*layers, final]
    for i, (want, got) in enumerate(zip(ours, theirs, strict=True), 1):
        if not torch.allclose(want, got, rtol=0, atol=TOLERANCE):
            raise UserError(
                f"{model_file}: ESPnet's output of layer {i} differs by "
                f"{(want - got).abs().max():.1e}: not exported"
            )


def write_model(model: A2MModel, config: dict[str, Any], path: Path) -> None:
    """Write the parameters of ESPnet's model with this configuration."""
    with torch.random.fork_rng(devices=[]):
        target = SSLTask.build_model(argparse.Namespace(**config))
    for parameter in target.parameters():  # those without a counterpart stay zero
        torch.nn.init.zeros_(parameter)
    for part in PARTS:
        if getattr(model, part) is not None:
            getattr(target, part).load_state_dict(getattr(model, part).state_dict())
    torch.save(portable_state(target), path)


def write_config(config: dict[str, Any], directory: Path, home: Path) -> None:
    """Write ``config.yaml`` for an export whose directory will be ``home``."""
    conf = config["normalize_conf"]
    if stats := conf.get("stats_file"):
        conf = {**conf, "stats_file": str(home / Path(stats).name)}
        config = {**config, "normalize_conf": conf}
    text = HEADER + (MOVED if stats else "") + yaml.safe_dump(config, sort_keys=False)
    (directory / CONFIG).write_text(text, encoding="utf-8")


def export(model_file: str | Path, output_dir: str | Path) -> Path:
    """Export a pre-trained model for ESPnet's ``frontend: espnet_ssl``.

    Args:
        model_file: Of a pre-training run; ``config.yaml`` lies beside it.
        output_dir: Created, or replaced if it holds an earlier export.

    Returns:
        The model in ``output_dir``, for ``path_or_url``.

    Raises:
        UserError: A file is missing, ESPnet does not have a part of the model, or
            computes other outputs.
    """
    model_file = Path(model_file)
    output = Path(output_dir).absolute()
    config = stock_config(load_config(model_file.parent / CONFIG))
    stats = config["normalize_conf"].get("stats_file")
    files = {MODEL, CONFIG} | ({Path(stats).name} if stats else set())
    others = [p.name for p in output.glob("[!.]*") if p.name not in files]
    if others:
        raise UserError(
            f"{output}: holds {preview(sorted(others))}, so it is no earlier export: "
            "give --output_dir a new directory"
        )
    fix = "pre-train the model first (bin.ssl_train)"
    model = load_trained_model(A2MTask, model_file, None, fix)
    temporary = output.with_name(f"{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    if stats:
        shutil.copyfile(stats, temporary / Path(stats).name)
    write_config(config, temporary, temporary)
    write_model(model, config, temporary / MODEL)
    check(model, temporary / MODEL)
    write_config(config, temporary, output)
    shutil.rmtree(output, ignore_errors=True)
    os.replace(temporary, output)
    return output / MODEL
