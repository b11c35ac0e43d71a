#!/usr/bin/env python3
"""CHiME-6 error rates per session and location, by the challenge's scoring rules.

Usage: chime6_score.py --ref data/dev --hyp exp/m/decode/dev/text --outdir SCORES

mhm, mm and mmm count as hmm, and tags such as [noise] do not count, in references and
hypotheses (Kaldi's egs/chime6/s5_track1). REF has utt2session and utt2location. Writes
what `espnet_a2m.bin.report score` does, and locations.md, the table that is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from espnet_a2m.datadir import DataError, few, main_guard
from espnet_a2m.kaldi_table import read_scp, write_atomic, write_table
from espnet_a2m.wer import score

SAME = {"mhm": "hmm", "mm": "hmm", "mmm": "hmm"}
LOCATIONS = ("DINING", "KITCHEN", "LIVING")


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
        locations: utterance -> one of `LOCATIONS`.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    for utt, (words, errors) in counts.items():
        for row in (sessions[utt], "all"):
            for column in (locations[utt], "all"):
                cell = sums.setdefault((row, column), [0, 0])
                cell[0] += words
                cell[1] += errors
    columns = [*LOCATIONS, "all"]
    lines = ["|session|" + "|".join(columns) + "|", "|---" * (len(columns) + 1) + "|"]
    for row in [*sorted(set(sessions.values())), "all"]:
        cells = []
        for column in columns:
            words, errors = sums.get((row, column), (0, 0))
            rate = f"{100 * errors / words:.2f}" if words else "-"
            cells.append(f"{rate} ({errors}/{words})")
        lines.append(f"|{row}|" + "|".join(cells) + "|")
    return "\n".join(lines) + "\n"


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ref", required=True, help="data directory of the set")
    parser.add_argument("--hyp", required=True, help="decoded text")
    parser.add_argument("--outdir", required=True, help="where the scores go")
    parser.add_argument("--sctk", choices=("auto", "none"), default="auto")
    args = parser.parse_args(argv)
    ref, out = Path(args.ref), Path(args.outdir)
    text = read_scp(ref / "text")
    tables = {name: read_scp(ref / name) for name in ("utt2session", "utt2location")}
    for name, table in tables.items():
        if absent := [utt for utt in text if utt not in table]:
            raise DataError(f"{ref / name}: lacks {few(absent)}; run stage 1 again")
    if odd := sorted(set(tables["utt2location"].values()) - set(LOCATIONS)):
        raise DataError(f"{ref}/utt2location: {few(odd)} is none of {LOCATIONS}")
    hyp = read_scp(args.hyp, allow_empty=True)
    write_table(out / "text", {utt: scored_words(t) for utt, t in text.items()})
    write_table(out / "hyp", {utt: scored_words(t) for utt, t in hyp.items()})
    write_table(out / "utt2spk", read_scp(ref / "utt2spk"))
    score(out / "text", out / "hyp", out, "word", args.sctk)
    result = json.loads((out / "result.json").read_text("utf-8"))
    table = location_table(result["utterances"], *tables.values())
    write_atomic(out / "locations.md", table)
    print(f"{args.hyp}: WER (errors/words), {result['scorer']}\n\n{table}")


if __name__ == "__main__":
    main()
