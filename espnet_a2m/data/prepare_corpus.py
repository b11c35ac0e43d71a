"""Prepare the data directories of a corpus, a module of data.corpora."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import shutil
import sys
from pathlib import Path
from typing import Any

from espnet_a2m.core.errors import DataError, UserError, main_guard, preview
from espnet_a2m.data import corpora
from espnet_a2m.data.corpora._kaldi import EmptySet, compare_counts

CORPORA = sorted(
    module.name
    for module in pkgutil.iter_modules(corpora.__path__)
    if not module.name.startswith("_")
)
FLAGS = ("true", "false")


def corpus_directory(
    name: str, module: Any, sets: list[str], args: argparse.Namespace
) -> Path:
    """The corpus' directory, after the download with ``--download true``."""
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


def get_parser(module: Any = None) -> argparse.ArgumentParser:
    """The options, with those of the corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--corpus_dir", help="directory of the corpus")
    parser.add_argument("--data", default="data", help="where data directories go")
    sets = ", ".join(module.SETS) if module else "depends on the corpus"
    parser.add_argument(
        "--sets", nargs="+", help=f"sets to prepare: {sets}; default all"
    )
    parser.add_argument(
        "--allow_missing",
        choices=FLAGS,
        default="false",
        help="prepare what is there of a corpus that is incomplete",
    )
    parser.add_argument(
        "--required",
        nargs="+",
        default=[],
        metavar="SET",
        help="sets that may not be empty, whatever --allow_missing; empty others are "
        "left out with it",
    )
    parser.add_argument(
        "--download",
        choices=FLAGS,
        default="false",
        help="download the corpus first, where its licence permits it",
    )
    parser.add_argument("--download_dir", default="downloads", help="where to")
    for option, text in getattr(module, "OPTIONS", {}).items():
        parser.add_argument(f"--{option}", help=text)
    return parser


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else ""
    module: Any = None
    if name in CORPORA:
        module = importlib.import_module(f"{corpora.__name__}.{name}")
    args = get_parser(module).parse_args(argv)
    if module is None:  # the corpus was named after the options
        raise UserError(f"name the corpus first: prepare_corpus {args.corpus} ...")
    sets = args.sets or list(module.SETS)
    if unknown := [s for s in sets if s not in module.SETS]:
        raise UserError(
            f"{name} has no set {preview(unknown)}; it has {', '.join(module.SETS)}"
        )
    corpus_dir = corpus_directory(name, module, sets, args)
    options = {o: v for o in getattr(module, "OPTIONS", {}) if (v := getattr(args, o))}
    allow_missing = args.allow_missing == "true"
    left_out: list[EmptySet] = []
    for set_name, utterances in module.prepare(
        corpus_dir, sets, allow_missing=allow_missing, **options
    ):
        folder = Path(args.data, set_name)
        try:
            utterances.write(folder)
        except EmptySet as error:
            left_out.append(error)
            required = not allow_missing or set_name in args.required
            if required or len(left_out) == len(sets):
                raise EmptySet(f"{error}. {module.WHERE}") from None
            if (folder / "wav.scp").is_file():  # of an earlier run
                shutil.rmtree(folder)
            print(
                f"WARNING: {error}: {folder} is not written; if it is a test set, "
                "leave it out of --test_sets, too",
                file=sys.stderr,
            )
            continue
        published = module.PUBLISHED.get(set_name, {})
        what = f"{name} {set_name}"
        compare_counts(what, utterances.counts, published, module.SOURCE)
