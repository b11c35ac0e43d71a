"""Export a pre-trained model for stock ESPnet's ``frontend: espnet_ssl``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Write the export after stock ESPnet has read it back with the same outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    model = "Checkpoint of a pre-training, such as exp/ssl_atm/valid.*.best.pth, with "
    parser.add_argument(
        "--model_file", required=True, help=f"{model}config.yaml beside it"
    )
    files = "Gets model.pth, config.yaml and, with global_mvn, the statistics"
    parser.add_argument("--output_dir", required=True, help=files)
    args = parser.parse_args(cmd)
    import_quietly("espnet2.tasks.ssl")
    from espnet_a2m.publish.export import export

    exported = export(args.model_file, args.output_dir)
    print(f"exported: {exported}; ESPnet computes the same outputs from it")


if __name__ == "__main__":
    main()
