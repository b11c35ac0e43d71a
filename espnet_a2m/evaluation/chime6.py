"""CHiME-6 error rates per session and location, by the challenge's scoring rules.

Usage: chime6_score [--expdir exp] [--dumpdir dump] [--references data/own/chime6]

Scores every EXPDIR/<experiment>/<decoding>/<set>/text of a set with utt2session and
utt2location in DUMPDIR/raw/<set>: mhm, mm and mmm count as hmm, and tags such as
[noise] do not count, in references and hypotheses (Kaldi's egs/chime6/s5_track1).
A set called chime6_<set>, of egs2/speechstew, is in the spelling of all its corpora:
its references are those of CHiME-6's own preparation, REFERENCES/<set>/text, where
they are there.
Writes score_chime6/ beside the text: what `espnet_a2m.bin.report score` writes, and
locations.md, the table that is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard, preview
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.corpora.chime6 import LOCATIONS, NO_LOCATION
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.evaluation.wer import score

SAME = {"mhm": "hmm", "mm": "hmm", "mmm": "hmm"}


def scored_words(text: str) -> str:
    """A transcript as it is scored: lower case, no tags, one hmm."""
    words = (w for w in text.lower().split() if not ("[" in w and "]" in w))
    return " ".join(SAME.get(word, word) for word in words)


def location_table(
    counts: dict[str, list[int]], sessions: dict[str, str], locations: dict[str, str]
) -> str:
    """Word error rates as a Markdown table: a row per session, a column per location.

    Args:
        counts: utterance -> [words of the reference, errors].
        sessions: utterance -> session.
        locations: utterance -> one of `LOCATIONS`, or `NO_LOCATION`.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    for utt, (words, errors) in counts.items():
        for row in (sessions[utt], "all"):
            for column in (locations[utt], "all"):
                cell = sums.setdefault((row, column), [0, 0])
                cell[0] += words
                cell[1] += errors
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
    """The `text` that a set is scored by: CHiME-6's own, or the set's.

    Args:
        data: the set's data directory.
        own: where the directories of CHiME-6's own preparation are.
    """
    corpus, _, name = data.name.partition("_")
    text = own / name / "text"
    return text if corpus == "chime6" and text.is_file() else data / "text"


def score_set(
    data: Path, hyp: Path, sctk: str = "auto", own: Path = Path("data/own/chime6")
) -> str:
    """Score a decoded set; returns the table.

    Args:
        data: the set's data directory.
        hyp: what was recognised, a `text`; the scores go beside it.
        sctk: as `espnet_a2m.evaluation.wer.score`.
        own: as `find_references`.

    Raises:
        UserError: a table is not complete, as `espnet_a2m.evaluation.wer.score`.
    """
    text = read_scp(data / "text")
    sessions, locations = (
        read_scp(data / name) for name in ("utt2session", "utt2location")
    )
    for name, table in (("utt2session", sessions), ("utt2location", locations)):
        if absent := [utt for utt in text if utt not in table]:
            raise DataError(
                f"{data / name}: lacks {preview(absent)}; prepare the corpus again "
                "(bin.data prepare_corpus)"
            )
    if odd := sorted(set(locations.values()) - {*LOCATIONS, NO_LOCATION}):
        raise DataError(f"{data}/utt2location: {preview(odd)} is none of {LOCATIONS}")
    references = find_references(data, own)
    own_text = read_scp(references)
    if absent := [utt for utt in text if utt not in own_text]:
        raise DataError(
            f"{references}: lacks {preview(absent)}; prepare and format the set "
            "again (bin.data)"
        )
    text = {utt: own_text[utt] for utt in text}
    out = hyp.parent / "score_chime6"
    heard = read_scp(hyp, allow_empty=True)
    write_table(out / "text", {utt: scored_words(t) for utt, t in text.items()})
    write_table(out / "hyp", {utt: scored_words(t) for utt, t in heard.items()})
    write_table(out / "utt2spk", read_scp(data / "utt2spk"))
    score(out / "text", out / "hyp", out, "word", sctk)
    result = json.loads((out / "result.json").read_text("utf-8"))
    by_location = location_table(result["utterances"], sessions, locations)
    write_atomic(out / "locations.md", by_location)
    how = f"WER (errors/words) against {references}, by {result['scorer']}"
    return f"{hyp}: {how}\n\n{by_location}"


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expdir", default="exp", help="experiments")
    parser.add_argument("--dumpdir", default="dump", help="formatted audio")
    parser.add_argument(
        "--references",
        default="data/own/chime6",
        help="CHiME-6's own sets, for those that are called chime6_<set>",
    )
    parser.add_argument("--sctk", choices=("auto", "none"), default="auto")
    args = parser.parse_args(argv)
    for hyp in sorted(Path(args.expdir).glob("*/*/*/text")):
        data = Path(args.dumpdir, "raw", hyp.parent.name)
        if (data / "utt2location").is_file():
            print(score_set(data, hyp, args.sctk, Path(args.references)))


if __name__ == "__main__":
    main()
