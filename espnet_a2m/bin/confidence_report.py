"""Report and draw what the scorer thinks of a set: OUTDIR/report.{json,txt}, *.png."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import main_guard

if TYPE_CHECKING:
    from espnet_a2m.evaluation.scored_set import ScoredDataset


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", required=True, help="Formatted data directory")
    parser.add_argument(
        "--confidence", required=True, help="Its confidences (bin.score)"
    )
    parser.add_argument("--outdir", required=True)
    parser.add_argument(
        "--max_utts",
        type=int,
        default=200_000,
        help="Utterances to read, drawn at random, of a larger set",
    )
    parser.add_argument("--utts", type=int, default=4, help="Utterances to draw")
    parser.add_argument(
        "--target_lang",
        help="Value of utt2lang: give the AUC of telling it from each other one",
    )
    parser.add_argument(
        "--exclude",
        help="Table of utterances (text, wav.scp, ...) that the scorer was trained on: "
        "give the AUC without them, too",
    )
    parser.add_argument(
        "--heldout",
        nargs=2,
        metavar=("DATA", "CONFIDENCE"),
        help="A set of the target language that the scorer was not trained on: "
        "give the AUC with its utterances, too",
    )
    parser.add_argument(
        "--mask_prob", type=float, default=0.4, help="Masked share, as of masking_conf"
    )
    parser.add_argument(
        "--mask_length", type=int, default=10, help="Frames in a span, likewise"
    )
    parser.add_argument(
        "--mask_utts", type=int, default=300, help="Utterances masks are compared on"
    )
    return parser


def choose(
    scored: ScoredDataset,
    utts: Mapping[str, tuple[float, float]],
    count: int,
    first: str,
) -> list[str]:
    """Utterances of about 4 s, taken from one language after the other."""
    by_language: dict[str, list[str]] = {}
    for utt in sorted(utts, key=lambda u: (abs(utts[u][1] - 4.0), u)):
        by_language.setdefault(scored.language.get(utt, ""), []).append(utt)
    order = sorted(by_language, key=lambda name: (name != first, name))
    longest = max(len(members) for members in by_language.values())
    turns = [
        by_language[language][i]
        for i in range(min(count, longest))
        for language in order
        if i < len(by_language[language])
    ]
    return turns[:count]


def draw(
    scored: ScoredDataset,
    utts: Mapping[str, tuple[float, float]],
    args: argparse.Namespace,
) -> list[Path]:
    """Draw the histogram and some utterances; returns the files."""
    from espnet_a2m.evaluation.confidence_report import draw_mask
    from espnet_a2m.evaluation.plots import draw_histogram, draw_utterance

    outdir = Path(args.outdir)
    by_language: dict[str, list[float]] = {}
    for utt, (s_u, _) in utts.items():
        by_language.setdefault(scored.language.get(utt, "all"), []).append(s_u)
    files = [
        draw_histogram(
            outdir / "utterance_confidence.png",
            dict(sorted(by_language.items())),
            f"{args.data}: utterance confidence",
        )
    ]
    for seed, utt in enumerate(choose(scored, utts, args.utts, args.target_lang or "")):
        s_t = scored.confidence(utt)
        language = scored.language.get(utt, "")
        files.append(
            draw_utterance(
                outdir / f"{utt}.png",
                f"{utt} {language}".strip(),
                scored.speech(utt),
                s_t,
                draw_mask(s_t, len(s_t), args.mask_prob, args.mask_length, seed),
                scored.grid,
            )
        )
    return files


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Write and print the report, then draw."""
    args = get_parser().parse_args(cmd)
    from espnet_a2m.core.files import write_atomic
    from espnet_a2m.data.tables import read_scp
    from espnet_a2m.evaluation.confidence_report import format_report, make_report
    from espnet_a2m.evaluation.scored_set import ScoredDataset

    heldout = args.heldout
    scored = ScoredDataset.load(args.data, args.confidence, args.max_utts)
    report, utts = make_report(
        scored,
        target_lang=args.target_lang,
        exclude=set(read_scp(args.exclude)) if args.exclude else set(),
        heldout=ScoredDataset.load(heldout[0], heldout[1], args.max_utts)
        if heldout
        else None,
        mask_prob=args.mask_prob,
        mask_length=args.mask_length,
        mask_utts=args.mask_utts,
    )
    text = format_report(report)
    outdir = Path(args.outdir)
    write_atomic(outdir / "report.json", json.dumps(report, indent=2) + "\n")
    write_atomic(outdir / "report.txt", text)
    print(text, end="")
    print(f"written to {outdir}/report.txt and report.json")
    for path in draw(scored, utts, args):
        print(f"drawn: {path}")


if __name__ == "__main__":
    main()
