"""Report and draw a set's confidences: OUTDIR/report.{json,txt} and *.png."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.bin import import_quietly
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
    heldout = (
        "Target language unseen by the scorer; give the AUC with it, too, and the "
        "scorer's CER, if it has text"
    )
    add("--heldout", nargs=2, metavar=("DATA", "CONFIDENCE"), help=heldout)
    recognised = "Utterances of it to recognise; 0: none"
    add("--cer_utts", type=int, default=100, help=recognised)
    add("--ssl_config", help="Configuration of bin.ssl_train, whose masks are drawn")
    options = "Further options of bin.ssl_train, given as '--ssl_args=--name value'"
    add("--ssl_args", default="", help=options)
    add("--mask_prob", type=float, help="In place of masking_conf's")
    add("--mask_length", type=int, help="In place of masking_conf's")
    add("--mask_utts", type=int, default=200, help="Utterances to draw masks for")
    tables = "Also group utterances by these tables: accent for DATA/utt2accent"
    add("--group_by", nargs="+", default=[], metavar="NAME", help=tables)
    labels = "CTM alignment of phones or words; report what masks hold of each label"
    add("--ctm", type=Path, help=labels)
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Write and print the report, then draw."""
    args = get_parser().parse_args(cmd)
    if args.ssl_config or args.heldout:
        import_quietly("espnet2.tasks.asr")
    from espnet_a2m.data.tables import read_scp
    from espnet_a2m.evaluation import confidence_report
    from espnet_a2m.evaluation.confidence_pictures import draw_report
    from espnet_a2m.evaluation.run_masking import RunMasking
    from espnet_a2m.evaluation.scored_set import ScoredDataset

    scored = ScoredDataset.load(args.data, args.confidence, args.max_utts)
    given = {"mask_prob": args.mask_prob, "mask_length": args.mask_length}
    given = {name: value for name, value in given.items() if value is not None}
    ssl_options = args.ssl_args.split()
    run = RunMasking.load(args.ssl_config, ssl_options, given, scored.grid)
    heldout = None
    if args.heldout:
        heldout = ScoredDataset.load(args.heldout[0], args.heldout[1], args.max_utts)
    exclude = set(read_scp(args.exclude)) if args.exclude else set()
    report, utts = confidence_report.make_report(
        scored,
        args.target_lang,
        exclude,
        heldout,
        run,
        args.mask_utts,
        args.cer_utts,
        args.group_by,
        args.ctm,
    )
    print(confidence_report.write_report(report, args.outdir), end="")
    for warning in report["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    print(f"written to {args.outdir}/report.txt and report.json")
    where = args.outdir, args.utts, run
    for path in draw_report(scored, report, utts, *where):
        print(f"drawn: {path}")


if __name__ == "__main__":
    main()
