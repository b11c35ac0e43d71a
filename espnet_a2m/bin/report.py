"""Error rates: the tool that computes them, those of a decoded set, and RESULTS.md.

  report tools
  report score --ref data/test/text --hyp exp/m/decode/test/text \
      --outdir exp/m/decode/test/score_wer --unit word
  report results exp/m exp/n --output RESULTS.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_a2m.core.errors import main_guard

UNITS = {"word": "WER", "char": "CER"}


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tools = commands.add_parser("tools", help="Name the tool that will be used")
    score = commands.add_parser("score", help="WER or CER of a decoded set")
    score.add_argument("--ref", required=True, help="Reference text of the set")
    score.add_argument("--hyp", required=True, help="Decoded text")
    score.add_argument("--outdir", required=True, help="For *.trn and result.*")
    score.add_argument("--unit", required=True, choices=UNITS)
    sctk = "auto: sclite if it is installed, else jiwer; none: jiwer"
    for command in (tools, score):
        choices = ["auto", "none"]
        command.add_argument("--sctk", default="auto", choices=choices, help=sctk)
    results = commands.add_parser("results", help="Tables of evaluated experiments")
    results.add_argument("experiments", nargs="+", metavar="EXPDIR")
    results.add_argument("--output", default="RESULTS.md")
    args = parser.parse_args(cmd)
    from espnet_a2m.evaluation.results import write_results
    from espnet_a2m.evaluation.wer import describe_tool, evaluate

    if args.command == "tools":
        print(f"error rates by {describe_tool(args.sctk)}")
    elif args.command == "score":
        row = evaluate(args.ref, args.hyp, args.outdir, args.unit, args.sctk)
        print(f"{UNITS[args.unit]} {row['Err']:.1f} %: {args.outdir}/result.txt")
    else:
        print(write_results(args.experiments, args.output), end="")
        print(f"written to {args.output}")


if __name__ == "__main__":
    main()
