"""Whether a training run may be resumed: by the same command from the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from espnet_a2m.core.config import load_config

#: Options that say how long to train, what to keep and what to tell. Not
#: num_iters_per_epoch, which says what data an epoch reads.
PROLONGING = {
    *("max_epoch", "patience", "keep_nbest_models", "nbest_averaging_interval"),
    *("save_interval_updates", "log_interval", "log_level"),
    *("use_tensorboard", "use_matplotlib", "use_wandb"),
}


def parse_words(command: str) -> dict[str, str]:
    """Option -> value of a command line, as "ngpu" or "encoder_conf num_blocks".

    The command's own words are those of option "". An option that is given several
    times has its last value, as argparse has it.
    """
    words: list[tuple[str, list[str]]] = [("", [])]
    for word in command.split():
        if word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            words.append((name, [value] if value else []))
        else:
            words[-1][1].append(word)
    options = {}
    for name, values in words:
        key, _, value = " ".join(values).partition("=")
        if name.endswith("_conf") and value:
            options[f"{name} {key}"] = value
        else:
            options[name] = " ".join(values)
    return options


def config_changes(config: dict[str, Any], saved: dict[str, Any]) -> Iterator[str]:
    """What a configuration has that ESPnet's saved one has not, or has otherwise."""
    for name, value in config.items():
        before = saved.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            for key in value:
                if value[key] != before.get(key):
                    yield f"{name} {key}: {before.get(key)} -> {value[key]}"
        elif value != before:
            yield f"{name}: {before} -> {value}"


def find_changes(
    experiment: Path, begun: str, now: str, inputs: Sequence[str]
) -> list[str]:
    """What forbids to resume an experiment, one description for each change.

    Args:
        experiment: Its directory.
        begun: A line of the command that began it, then one for each input with the
            sum of its content.
        now: The same of this command.
        inputs: Names of the inputs.
    """
    (command, *sums), (command_now, *sums_now) = begun.splitlines(), now.splitlines()
    before, after = parse_words(command), parse_words(command_now)
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, "not given"), after.get(name, "not given")
        if old != new and name not in PROLONGING:
            changes.append(f"{name or 'command'}: {old} -> {new}")
    if len(sums) != len(sums_now):
        return [*changes, "other input files"]
    for path, old, new in zip(inputs, sums, sums_now, strict=True):
        if old == new:
            continue
        changed = f"{path} has changed"
        saved = experiment / "config.yaml"
        if path.endswith(".yaml") and saved.exists():
            # what is given beside the configuration is not the file's
            found = config_changes(load_config(path), load_config(saved))
            own = [x for x in found if x.partition(":")[0] not in before]
            changed += f" ({', '.join(own)})" if own else ""
        changes.append(changed)
    return changes
