"""A pre-trained model as stock ESPnet's ``frontend: espnet_ssl`` reads it.

That front end builds ESPnet's own SSL model from a ``config.yaml`` beside the
checkpoint and fills it with whatever keys match. So the export is written by the stock
classes, read back by them and compared before it gets its name.
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
# What the two models share; all parameters are in these.
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
    """The options of a pre-training that ESPnet's own SSL task knows.

    Raises:
        UserError: Names the option whose class ESPnet's task does not have.
    """
    kept: dict[str, Any] = {"token_list": ["<unk>"], "input_size": None, "init": None}
    for choices in (
        stock.frontend_choices,
        stock.specaug_choices,
        stock.normalize_choices,
        stock.preencoder_choices,
        stock.encoder_choices,
    ):
        name = choices.name
        choice = config.get(name)
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
    # ESPnet builds its masking, which it wants, for a loss only: a small one
    loss = {"name": "hubert", "conf": {"num_classes": 1, "final_dim": 1}}
    kept |= {"loss": [loss], "util": [{"name": "mask", "conf": {}}], "model_conf": {}}
    return kept | {"model": "espnet", "version": config.get("version")}


def portable_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters under the names that every supported release of ESPnet reads.

    202611 renamed parts of all subsamplings but `conv2d8`. It still reads the old
    names, whereas 202511 would ignore the new ones and leave the layer random.
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
def stock_layers(
    model: Any, speech: torch.Tensor, lengths: torch.Tensor
) -> list[torch.Tensor]:
    """What `frontend: espnet_ssl` reads of an ESPnet SSL model, and its final output.

    Args:
        model: ESPnet's, in evaluation mode.
        speech: (B, N) waveforms.
        lengths: (B,) samples.

    Returns:
        (B, T, D) of each layer and after the encoder's final norm.
    """
    final, layers, _ = model.inference_encode(speech, lengths)
    return [*layers, final]


@torch.inference_mode()
def our_layers(
    model: A2MModel, speech: torch.Tensor, lengths: torch.Tensor
) -> list[torch.Tensor]:
    """The same of a pre-trained model of ours."""
    encoder_in, lengths = model.encoder_input(*model.frontend(speech, lengths))
    numbers = range(1, model.num_layers + 1)
    captured = capture_layers(model.encoder, encoder_in, lengths, numbers)
    return [*(captured.layers[i] for i in numbers), captured.output]


def check(model: A2MModel, model_file: Path) -> None:
    """Read an export as ESPnet does and compare it with what was exported.

    Raises:
        UserError: Parameters are missing or left over, or outputs differ.
    """
    read, _ = SSLTask.build_model_from_file(None, model_file)
    state = torch.load(model_file, weights_only=True)
    # ESPnet would ignore what does not match
    missing, unexpected = read.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise UserError(
            f"{model_file}: ESPnet would not find {preview(missing) or 'nothing'} and "
            f"ignore {preview(unexpected) or 'nothing'}: not exported"
        )
    noise = torch.randn(2, model.fs, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([model.fs, model.fs * 3 // 4])  # the second is padded
    noise[1, lengths[1] :] = 0
    ours = our_layers(model.eval(), noise, lengths)
    theirs = stock_layers(read.eval(), noise, lengths)
    for i, (want, got) in enumerate(zip(ours, theirs, strict=True), 1):
        if not torch.allclose(want, got, rtol=0, atol=TOLERANCE):
            raise UserError(
                f"{model_file}: ESPnet's output of layer {i} differs by "
                f"{(want - got).abs().max():.1e}: not exported"
            )


def write_model(model: A2MModel, config: dict[str, Any], path: Path) -> None:
    """Write the parameters that ESPnet's model of this configuration has."""
    with torch.random.fork_rng(devices=[]):
        target = SSLTask.build_model(argparse.Namespace(**config))
    for parameter in target.parameters():  # what has no counterpart stays zero
        torch.nn.init.zeros_(parameter)
    for part in PARTS:
        if getattr(model, part) is not None:
            getattr(target, part).load_state_dict(getattr(model, part).state_dict())
    torch.save(portable_state(target), path)


def write_config(config: dict[str, Any], directory: Path, stats: str | None) -> None:
    """Write ``config.yaml``, with the statistics where they will lie."""
    if stats is not None:
        conf = {**config["normalize_conf"], "stats_file": stats}
        config = {**config, "normalize_conf": conf}
    text = HEADER + (MOVED if stats else "") + yaml.safe_dump(config, sort_keys=False)
    (directory / CONFIG).write_text(text, encoding="utf-8")


def export(model_file: str | Path, output_dir: str | Path) -> Path:
    """Write a pre-trained model so that ESPnet's ``frontend: espnet_ssl`` reads it.

    Args:
        model_file: Checkpoint of a pre-training, such as ``valid....best.pth``, with
            ``config.yaml`` beside it.
        output_dir: Made, or replaced if it holds an earlier export.

    Returns:
        The model in ``output_dir``, for ``path_or_url``.

    Raises:
        UserError: A file is missing, ESPnet has not what the model is made of, or
            would compute something else.
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
    model = load_trained_model(
        A2MTask, model_file, None, "pre-train the model first (bin.ssl_train)"
    )
    made = output.with_name(f"{output.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    if stats:
        shutil.copyfile(stats, made / Path(stats).name)
    write_config(config, made, stats and str(made / Path(stats).name))
    write_model(model, config, made / MODEL)
    check(model, made / MODEL)
    write_config(config, made, stats and str(output / Path(stats).name))
    shutil.rmtree(output, ignore_errors=True)
    os.replace(made, output)
    return output / MODEL
