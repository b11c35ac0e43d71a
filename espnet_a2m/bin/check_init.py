"""Say what ``--init_param`` will find in a stock ESPnet ASR model.

Takes the options of ``espnet2.bin.asr_train``. ESPnet prints nothing of the kind,
and a fine-tuning that silently starts from random weights is noticed late.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import UserError, main_guard, preview


def match_keys(
    init_param: str, state: Mapping[str, Any], target: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Keys of ``target`` that ``<path>:<src>:<dst>`` fills, and those it leaves out.

    Args:
        init_param: As ESPnet takes it.
        state: Parameters in the file at ``<path>``.
        target: Parameters of the model.

    Raises:
        UserError: A parameter has another shape than the model's.
    """
    _, source, destination = (init_param.split(":") + ["", ""])[:3]
    matched, unmatched = [], []
    for key, value in target.items():
        if destination and not key.startswith(f"{destination}."):
            continue
        name = key[len(destination) :].lstrip(".")
        origin = f"{source}.{name}" if source else name
        if origin not in state:
            unmatched.append(key)
        elif state[origin].shape != value.shape:
            raise UserError(
                f"{init_param}: {origin} is {tuple(state[origin].shape)}, but the "
                f"model's {key} is {tuple(value.shape)}: give fine-tuning the same "
                "frontend and encoder configuration as pre-training"
            )
        else:
            matched.append(key)
    return matched, unmatched


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the matched keys; fail when an ``--init_param`` fills none or too few."""
    import_quietly("espnet2.tasks.asr")
    import torch
    from espnet2.tasks.asr import ASRTask

    args = ASRTask.get_parser().parse_args(
        [*(sys.argv[1:] if cmd is None else cmd), "--output_dir", "unused"]
    )
    model = ASRTask.build_model(args)
    target, modules = model.state_dict(), dict(model.named_modules())
    for init_param in args.init_param:
        path, destination = init_param.split(":")[0], init_param.split(":")[-1]
        if destination in modules and not modules[destination].state_dict():
            print(f"{init_param}: {destination} has no parameters")
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        matched, unmatched = match_keys(init_param, state, target)
        for key in matched:
            print(f"matched {key} {tuple(target[key].shape)}")
        print(f"{init_param}: {len(matched)} matched, {len(unmatched)} not")
        if not matched or unmatched:
            raise UserError(
                f"{init_param}: the model's {preview(unmatched or target)} would stay "
                "random; use the same frontend and encoder configuration, and the "
                "same ESPnet release, as in pre-training"
            )


if __name__ == "__main__":
    main()
