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
            # relative to where the training ran
            path = Path(holder[key])
            if not path.is_file():
                raise UserError(
                    f"{path}: {args.config} names this {key}; it is missing"
                )
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
    parser.add_argument("task", choices=["asr", "ssl"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model_file", type=Path, required=True)
    parser.add_argument("--outpath", type=Path, required=True, help="A .zip file")
    parser.add_argument(
        "--inference_config",
        type=Path,
        help="Of espnet2.bin.asr_inference, for the model card; asr needs it",
    )
    parser.add_argument(
        "--inference_args", default="", help="Its options beside the configuration"
    )
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
