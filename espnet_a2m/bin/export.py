"""Export a pre-trained model for stock ESPnet's ``frontend: espnet_ssl``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model_file",
        required=True,
        help="Checkpoint of a pre-training, such as exp/ssl_atm/valid.*.best.pth, with "
        "config.yaml beside it",
    )
    parser.add_argument(
        "--output_dir",
        required=True,
        help="Gets model.pth, config.yaml and, with global_mvn, the statistics",
    )
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Write the export after stock ESPnet has read it back with the same outputs."""
    args = get_parser().parse_args(cmd)
    import_quietly("espnet2.tasks.ssl")
    from espnet_a2m.publish.export import export

    model = export(args.model_file, args.output_dir)
    print(f"exported: {model}; ESPnet computes the same outputs from it")


if __name__ == "__main__":
    main()
