"""What a linear layer can read off an encoder: CER of a CTC probe on frozen layers.

  probe --model_file exp/ssl_atm/valid.nats_gained_hubert.best.pth \
      --train dump/raw/train_sup_sp --test dump/raw/dev --output exp/ssl_atm/probe.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Probe the layers, print a line for each, write the JSON."""
    import_quietly("espnet2.tasks.asr")
    from espnet2.utils.types import str2bool

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    model = "Checkpoint of a pre-training run or of an ASR model; config.yaml beside it"
    option("--model_file", required=True, help=model)
    option("--layers", type=int, nargs="+", help="Encoder layers, from 1 [all]")
    option("--train", required=True, help="Formatted data directory with text")
    option("--test", required=True, help="The same, to measure the CER on")
    option("--updates", type=int, default=1000, help="Of each probe [1000]")
    option("--seed", type=int, default=0, help="[0]")
    most = "Utterances of each set at most, drawn at random [2000]"
    option("--max_utterances", type=int, default=2000, help=most)
    random = "Probe the model as it was before any training, the floor [false]"
    option("--random_init", type=str2bool, default=False, help=random)
    option("--output", required=True, help="JSON to write")
    args = parser.parse_args(cmd)
    from espnet_a2m.core.files import write_atomic
    from espnet_a2m.evaluation.probe import probe_layers

    options = {name: value for name, value in vars(args).items() if name != "output"}
    found = probe_layers(**options)
    write_atomic(args.output, json.dumps(found, indent=1) + "\n")
    for row in found["layers"]:
        print("layer {layer}: CER {cer:.1f} %, loss {loss:.3f}".format(**row))
    print(f"written to {args.output}")


if __name__ == "__main__":
    main()
