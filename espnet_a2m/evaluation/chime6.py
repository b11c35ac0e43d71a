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
from collections import Counter
from itertools import product
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard, preview
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.corpora.chime6 import LOCATIONS, NO_LOCATION
from espnet_a2m.data.tables import iter_scp, join_utterances, read_scp, write_table
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

    ``counts`` is utterance -> [words of the reference, errors]; locations are of
    `LOCATIONS`, or `NO_LOCATION`.
    """
    words: Counter[tuple[str, str]] = Counter()
    errors: Counter[tuple[str, str]] = Counter()
    for utt, (of_reference, wrong) in counts.items():
        for cell in product((sessions[utt], "all"), (locations[utt], "all")):
            words[cell] += of_reference
            errors[cell] += wrong
    unplaced = [NO_LOCATION] if NO_LOCATION in locations.values() else []
    columns = [*LOCATIONS, *unplaced, "all"]
    table = f"|session|{'|'.join(columns)}|\n" + "|---" * (len(columns) + 1) + "|\n"
    for session in [*sorted(set(sessions.values())), "all"]:
        table += f"|{session}|"
        for column in columns:
            e, n = errors[session, column], words[session, column]
            rate = f"{100 * e / n:.2f}" if n else "-"
            table += f"{rate} ({e}/{n})|"
        table += "\n"
    return table


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
        sctk: as of `evaluate`.
        own: the directories of CHiME-6's own preparation.

    Raises:
        UserError: a table is not complete, or as `evaluate`.
    """
    references = find_references(data, own)
    paths = [data / "text", references, data / "utt2session", data / "utt2location"]
    rows = join_utterances(
        [(path, iter_scp(path)) for path in paths],
        "prepare the corpus, and format the set, again (bin.data)",
    )
    text, sessions, locations = {}, {}, {}
    for utt, (_, words, session, location) in rows:
        text[utt], sessions[utt], locations[utt] = normalise(words), session, location
    if invalid := sorted(set(locations.values()) - {*LOCATIONS, NO_LOCATION}):
        raise DataError(
            f"{data}/utt2location: {preview(invalid)} is none of {LOCATIONS}"
        )
    out = hyp.parent / "score_chime6"
    heard = read_scp(hyp, allow_empty=True)
    write_table(out / "text", text)
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
