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
    add = parser.add_argument
    model = "Pre-trained parameters, exp/ssl_*/valid.*.best.pth; config.yaml beside"
    add("--model_file", required=True, help=model)
    files = "Gets model.pth, config.yaml and, with global_mvn, the statistics"
    add("--output_dir", required=True, help=files)
    args = parser.parse_args(cmd)
    import_quietly("espnet2.tasks.ssl")
    from espnet_a2m.publish.export import export

    exported = export(args.model_file, args.output_dir)
    print(f"exported: {exported}; ESPnet computes the same outputs from it")


if __name__ == "__main__":
    main()
