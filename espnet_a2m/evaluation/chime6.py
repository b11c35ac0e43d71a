"""CHiME-6 error rates per session and location, by the challenge's rules.

Usage: chime6_score [--expdir exp] [--dumpdir dump] [--references data/own/chime6]

Evaluates every EXPDIR/<experiment>/<decoding>/<set>/text of a set with utt2session and
utt2location in DUMPDIR/raw/<set>: mhm, mm and mmm count as hmm, and tags such as
[noise] do not count, in references and hypotheses (Kaldi's egs/chime6/s5_track1).
A set called chime6_<set> (egs2/speechstew) has the spelling that all its corpora share:
its references are those of CHiME-6's own preparation, REFERENCES/<set>/text, if they
exist. Writes score_chime6/ beside the text: the files of `espnet_a2m.bin.report score`,
and locations.md, the table that is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from espnet_a2m.core.errors import DataError, main_guard, preview
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.corpora.chime6 import LOCATIONS, NO_LOCATION
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.evaluation.wer import evaluate

SYNONYMS = {"mhm": "hmm", "mm": "hmm", "mmm": "hmm"}


def normalise(text: str) -> str:
    """A transcript by the challenge's rules: lower case, no tags, one hmm."""
    words = (w for w in text.lower().split() if not ("[" in w and "]" in w))
    return " ".join(SYNONYMS.get(word, word) for word in words)


def location_table(
    counts: dict[str, list[int]], sessions: dict[str, str], locations: dict[str, str]
) -> str:
    """Word error rates as a Markdown table: a row per session, a column per location.

    Args:
        counts: utterance -> [words of the reference, errors].
        sessions: utterance -> session.
        locations: utterance -> one of `LOCATIONS`, or `NO_LOCATION`.
    """
    sums: dict[tuple[str, str], np.ndarray] = {}
    for utt, words_and_errors in counts.items():
        for row in (sessions[utt], "all"):
            for cell in ((row, locations[utt]), (row, "all")):
                sums[cell] = sums.get(cell, 0) + np.array(words_and_errors)
    unplaced = [NO_LOCATION] if NO_LOCATION in locations.values() else []
    columns = [*LOCATIONS, *unplaced, "all"]
    lines = ["|session|" + "|".join(columns) + "|", "|---" * (len(columns) + 1) + "|"]
    for row in [*sorted(set(sessions.values())), "all"]:
        cells = []
        for column in columns:
            words, errors = sums.get((row, column), (0, 0))
            rate = f"{100 * errors / words:.2f}" if words else "-"
            cells.append(f"{rate} ({errors}/{words})")
        lines.append(f"|{row}|" + "|".join(cells) + "|")
    return "\n".join(lines) + "\n"


def find_references(data: Path, own: Path) -> Path:
    """The reference `text` of a set `data`: CHiME-6's `own`, or the set's."""
    corpus, _, name = data.name.partition("_")
    text = own / name / "text"
    return text if corpus == "chime6" and text.is_file() else data / "text"


def evaluate_set(
    data: Path, hyp: Path, sctk: str = "auto", own: Path = Path("data/own/chime6")
) -> str:
    """Evaluate a decoded set; returns the table.

    Args:
        data: the set's data directory.
        hyp: the recognised `text`; the results go beside it.
        sctk: as `espnet_a2m.evaluation.wer.evaluate`.
        own: the directories of CHiME-6's own preparation.

    Raises:
        UserError: a table is not complete, or as `espnet_a2m.evaluation.wer.evaluate`.
    """
    utts = read_scp(data / "text")
    references = find_references(data, own)
    tables = []
    for path in (data / "utt2session", data / "utt2location", references):
        table = read_scp(path)
        if missing := [utt for utt in utts if utt not in table]:
            step = "prepare the corpus, and format the set, again (bin.data)"
            raise DataError(f"{path}: {preview(missing)} missing; {step}")
        tables.append(table)
    sessions, locations, text = tables
    if invalid := sorted(set(locations.values()) - {*LOCATIONS, NO_LOCATION}):
        raise DataError(
            f"{data}/utt2location: {preview(invalid)} is none of {LOCATIONS}"
        )
    out = hyp.parent / "score_chime6"
    heard = read_scp(hyp, allow_empty=True)
    write_table(out / "text", {utt: normalise(text[utt]) for utt in utts})
    write_table(out / "hyp", {utt: normalise(t) for utt, t in heard.items()})
    write_table(out / "utt2spk", read_scp(data / "utt2spk"))
    evaluate(out / "text", out / "hyp", out, "word", sctk)
    result = json.loads((out / "result.json").read_text("utf-8"))
    by_location = location_table(result["utterances"], sessions, locations)
    write_atomic(out / "locations.md", by_location)
    how = f"WER (errors/words) against {references}, by {result['wer_tool']}"
    return f"{hyp}: {how}\n\n{by_location}"


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--expdir", default="exp", help="experiments")
    add("--dumpdir", default="dump", help="formatted audio")
    own = "CHiME-6's own sets, for those that are called chime6_<set>"
    add("--references", default="data/own/chime6", help=own)
    add("--sctk", choices=("auto", "none"), default="auto")
    args = parser.parse_args(argv)
    for hyp in sorted(Path(args.expdir).glob("*/*/*/text")):
        data = Path(args.dumpdir, "raw", hyp.parent.name)
        if (data / "utt2location").is_file():
            print(evaluate_set(data, hyp, args.sctk, Path(args.references)))


if __name__ == "__main__":
    main()
