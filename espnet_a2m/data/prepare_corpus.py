"""Prepare the data directories of a corpus, a module of data.corpora."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import shutil
from pathlib import Path
from typing import Any

from espnet_a2m.core.errors import DataError, UserError, main_guard, preview, warn
from espnet_a2m.data import corpora
from espnet_a2m.data.corpora import _shared as shared

MODULES: dict[str, Any] = {
    module.name: importlib.import_module(f"{corpora.__name__}.{module.name}")
    for module in pkgutil.iter_modules(corpora.__path__)
    if not module.name.startswith("_")
}


def corpus_directory(sets: list[str], args: argparse.Namespace) -> Path:
    """The corpus' directory, after the download with ``--download true``."""
    name, module = args.corpus, MODULES[args.corpus]
    if args.download == "true":
        if not hasattr(module, "download"):
            raise UserError(f"{name} cannot be downloaded from here. {module.WHERE}")
        return module.download(Path(args.download_dir), sets)
    if not args.corpus_dir:
        raise UserError(
            f"where is {name}? Set {name.upper()} in the recipe's db.sh "
            f"(--corpus_dir). {module.WHERE}"
        )
    folder = Path(args.corpus_dir)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such directory: correct {name.upper()} in the recipe's "
            f"db.sh (--corpus_dir). {module.WHERE}"
        )
    return folder


def get_parser() -> argparse.ArgumentParser:
    """A command for each corpus, with its own options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="corpus", metavar="CORPUS", required=True)
    flag: dict[str, Any] = dict(choices=("true", "false"), default="false")
    for name, module in MODULES.items():
        about = str(module.__doc__).splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--corpus_dir", help="directory of the corpus")
        command.add_argument("--data", default="data", help="where data directories go")
        text = f"sets to prepare: {', '.join(module.SETS)}; default all"
        command.add_argument("--sets", nargs="+", help=text)
        text = "prepare what is there of a corpus that is incomplete"
        command.add_argument("--allow_missing", **flag, help=text)
        text = "sets that may not be empty with it; other empty ones are left out"
        command.add_argument(
            "--required", nargs="+", default=[], metavar="SET", help=text
        )
        text = "download the corpus first, where its licence permits it"
        command.add_argument("--download", **flag, help=text)
        command.add_argument("--download_dir", default="downloads", help="where to")
        for option, text in getattr(module, "OPTIONS", {}).items():
            command.add_argument(f"--{option}", help=text)
    return parser


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    args = get_parser().parse_args(argv)
    name, module = args.corpus, MODULES[args.corpus]
    sets = args.sets or list(module.SETS)
    if unknown := [s for s in sets if s not in module.SETS]:
        raise UserError(
            f"{name} has no set {preview(unknown)}; it has {', '.join(module.SETS)}"
        )
    corpus_dir = corpus_directory(sets, args)
    options = {o: v for o in getattr(module, "OPTIONS", {}) if (v := getattr(args, o))}
    allow_missing = args.allow_missing == "true"
    left_out = 0
    for set_name, utterances in module.prepare(
        corpus_dir, sets, allow_missing=allow_missing, **options
    ):
        folder = Path(args.data, set_name)
        try:
            utterances.write(folder)
        except shared.EmptySet as error:
            left_out += 1
            required = not allow_missing or set_name in args.required
            if required or left_out == len(sets):
                raise shared.EmptySet(f"{error}. {module.WHERE}") from None
            if (folder / "wav.scp").is_file():  # of an earlier run
                shutil.rmtree(folder)
            warn(
                f"{error}: {folder} is not written; if it is a test set, leave it out "
                "of --test_sets, too"
            )
            continue
        if published := getattr(module, "PUBLISHED", {}).get(set_name):
            what = f"{name} {set_name}"
            shared.compare_counts(what, utterances.counts, published, module.SOURCE)
