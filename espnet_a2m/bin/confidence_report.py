"""Report and draw a set's confidences: OUTDIR/report.{json,txt} and *.png."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="Formatted data directory")
    add("--confidence", required=True, help="Its confidences (bin.score)")
    add("--outdir", type=Path, required=True, help="Output directory")
    add("--max_utts", type=int, default=200_000, help="Read a random sample of so many")
    add("--utts", type=int, default=4, help="Utterances to draw")
    add("--target_lang", help="utt2lang to tell from the others, by AUC")
    add("--exclude", help="Table of utterances; give the AUC without them, too")
    heldout = "Target language unseen by the scorer; give the AUC with it, too"
    add("--heldout", nargs=2, metavar=("DATA", "CONFIDENCE"), help=heldout)
    add("--mask_prob", type=float, default=0.4, help="As of masking_conf")
    add("--mask_length", type=int, default=10, help="As of masking_conf")
    add("--mask_utts", type=int, default=300, help="Utterances to compare masks on")
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Write and print the report, then draw."""
    args = get_parser().parse_args(cmd)
    from espnet_a2m.data.tables import read_scp
    from espnet_a2m.evaluation import confidence_report
    from espnet_a2m.evaluation.scored_set import ScoredDataset

    scored = ScoredDataset.load(args.data, args.confidence, args.max_utts)
    heldout = None
    if args.heldout:
        heldout = ScoredDataset.load(args.heldout[0], args.heldout[1], args.max_utts)
    exclude = set(read_scp(args.exclude)) if args.exclude else set()
    mask = {"mask_prob": args.mask_prob, "mask_length": args.mask_length}
    sets = (args.target_lang, exclude, heldout)
    report, utts = confidence_report.make_report(
        scored, *sets, mask_utts=args.mask_utts, **mask
    )
    print(confidence_report.write_report(report, args.outdir), end="")
    print(f"written to {args.outdir}/report.txt and report.json")
    options = (args.outdir, args.utts, args.target_lang)
    for path in confidence_report.draw_report(scored, utts, *options, **mask):
        print(f"drawn: {path}")


if __name__ == "__main__":
    main()
