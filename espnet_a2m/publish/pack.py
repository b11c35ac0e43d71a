"""Pack a model for espnet2.main_funcs.pack_funcs.unpack, wherever its files are.

ESPnet's pack stores files under their present paths, and unpack corrects only those
that the configuration spells in the same way. The files and the configuration are
therefore copied to one directory first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError, main_guard
from espnet_a2m.publish.card import decode_options, model_card

# Directory in the archive. Files at its root would have paths without a slash, which
# espnet_model_zoo does not take for paths and would not correct.
FILES = Path("exp")


def gather(args: argparse.Namespace, directory: Path) -> list[str]:
    """Copy the files that the model needs; returns those beside model and config.

    Raises UserError: a file is missing, or the model reads another one.
    """
    config = load_config(args.config)
    if config.get("frontend") == "espnet_ssl":
        raise UserError(
            f"{args.config}: frontend: espnet_ssl reads another model, whose paths "
            "ESPnet's unpack does not correct: pack one that starts by --init_param"
        )
    conf = config.get("normalize_conf") or {}
    names = []
    (directory / FILES).mkdir()
    for holder, key in ((conf, "stats_file"), (config, "bpemodel")):
        if holder.get(key):
            path = Path(holder[key])  # relative to where the training run was started
            if not path.is_file():
                raise UserError(f"{path} is missing: {args.config} names this {key}")
            holder[key] = str(FILES / path.name)
            shutil.copyfile(path, directory / holder[key])
            names.append(holder[key])
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (directory / FILES / "config.yaml").write_text(text, encoding="utf-8")
    shutil.copyfile(args.model_file, directory / FILES / "model.pth")
    options = {}
    if args.task == "asr":
        options = decode_options(args.inference_config, args.inference_args.split())
    card = model_card(args.task, args.outpath.stem, config, options)
    results = Path("RESULTS.md")  # of bin.report results
    if results.is_file():
        shutil.copyfile(results, directory / results)
        card += f"\n{results.read_text(encoding='utf-8')}"
        names.append(str(results))
    (directory / "README.md").write_text(card, encoding="utf-8")
    return [*names, "README.md"]


@main_guard
def main() -> None:
    """Command line: write the archive under a temporary name, then rename it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("task", choices=["asr", "ssl"])
    add("--config", type=Path, required=True)
    add("--model_file", type=Path, required=True)
    add("--outpath", type=Path, required=True, help="A .zip file")
    used = "Of espnet2.bin.asr_inference, for the model card; asr needs it"
    add("--inference_config", type=Path, help=used)
    more = "Its options beside the configuration"
    add("--inference_args", default="", help=more)
    args = parser.parse_args()
    if args.task == "asr" and args.inference_config is None:
        raise UserError("asr: give --inference_config, whose options the card tells")
    outpath = args.outpath.absolute()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        names = gather(args, directory)
        command = [sys.executable, "-m", "espnet2.bin.pack", args.task]
        command += [f"--{args.task}_train_config", str(FILES / "config.yaml")]
        command += [f"--{args.task}_model_file", str(FILES / "model.pth")]
        for option in names:
            command += ["--option", option]
        temporary = outpath.with_name(f".{outpath.name}")  # same suffix: the format
        subprocess.run([*command, "--outpath", temporary], cwd=directory, check=True)
        os.replace(temporary, outpath)
    print(f"packed: {args.outpath}")


if __name__ == "__main__":
    main()
