"""How frame labels go with phones or characters: HuBERT's purities and PNMI.

  label_purity --labels exp/labels_atm/dev --ctm dev_phones.ctm
  label_purity --labels exp/labels_atm/dev --data dump/raw/dev \
      --asr_model_file exp/scorer_ctc/valid.loss.ave.pth

The second way aligns the transcripts by a CTC model of characters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Compare the labels with an alignment; print the measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--labels", required=True, help="Folder of a set that bin.labels wrote")
    ctm = "Alignment: <utt> <channel> <start> <duration> <word, phone or character>"
    option("--ctm", help=ctm)
    option("--data", help="Without it: formatted data directory with text")
    model = "Without it: checkpoint of an ASR model with CTC on characters"
    option("--asr_model_file", help=model)
    option("--output", help="JSON to write")
    args = parser.parse_args(cmd)
    import_quietly("espnet2.tasks.asr")
    from espnet_a2m.core.files import write_atomic
    from espnet_a2m.evaluation.label_purity import label_purity, read_alignment

    alignment = read_alignment(args.data, args.ctm, args.asr_model_file)
    found = label_purity(args.labels, alignment)
    if args.output is not None:
        write_atomic(args.output, json.dumps(found, indent=1) + "\n")
    print(
        "{utterances} utterances, {frames} frames ({silence:.1%} silence), "
        "{labels_in_use} labels in use, {reference_classes} classes in the "
        "alignment\n".format(**found)
        + "purity {reference_purity:.3f}, cluster purity {cluster_purity:.3f}, PNMI "
        "{pnmi:.3f}\n".format(**found)
        + "labels in random order: {reference_purity:.3f}, {cluster_purity:.3f}, "
        "{pnmi:.3f}".format(**found["shuffled"])
    )


if __name__ == "__main__":
    main()
