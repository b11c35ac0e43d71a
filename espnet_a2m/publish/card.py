"""Model cards of packed models: the README.md on the Hugging Face Hub."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CARD = {
    "asr": """\
---
tags: [espnet, audio, automatic-speech-recognition]
library_name: espnet
---
# {name}

An ESPnet speech recogniser, fine-tuned from a model that was pre-trained with
[Ask2Mask](https://arxiv.org/abs/2202.12719) (ESPnet {release}). It needs ESPnet alone:

```python
from espnet2.bin.asr_inference import Speech2Text
from espnet2.main_funcs.pack_funcs import unpack
options = dict({options})  # as decoded for its error rates
speech2text = Speech2Text(**unpack("{name}.zip", "{name}"), **options)
text = speech2text(speech)[0][0]  # speech: {fs} Hz samples
```

From the Hugging Face Hub, with espnet_model_zoo installed:
`Speech2Text.from_pretrained("user/name", **options)`.
""",
    "ssl": """\
---
tags: [espnet, audio, feature-extraction]
library_name: espnet
---
# {name}

A speech encoder that was pre-trained with [Ask2Mask](https://arxiv.org/abs/2202.12719),
for ESPnet's `frontend: espnet_ssl` ({fs} Hz). It needs ESPnet alone; the directory has
to be absolute:

```python
from espnet2.main_funcs.pack_funcs import unpack
path_or_url = unpack("{name}.zip", "/models/{name}")["ssl_model_file"]
```
""",
}


def decode_options(config: Path, words: Sequence[str]) -> dict[str, Any]:
    """What asr_inference gives to ``Speech2Text`` beside its defaults.

    ESPnet's default ``ctc_weight`` of 0.5, for one, makes nonsense of a CTC model.

    Args:
        config: Given to asr_inference by ``--config``.
        words: Its other options.
    """
    from espnet2.bin.asr_inference import Speech2Text, get_parser

    parser = get_parser()
    for action in parser._actions:
        action.required = False  # the data and where to write
    used = vars(parser.parse_args(["--config", str(config), *words]))
    parameters = inspect.signature(Speech2Text).parameters
    return {
        name: used[name]
        for name, parameter in parameters.items()
        if name in used and used[name] != parameter.default
    }


def model_card(
    task: str, name: str, config: dict[str, Any], options: dict[str, Any]
) -> str:
    """The card of a packed model.

    Args:
        task: ``asr`` or ``ssl``.
        name: Of the archive, without ``.zip``.
        config: The model's configuration.
        options: Of :func:`decode_options`.
    """
    # no part of the archive, as a language model, and of no use elsewhere
    files = {k: v for k, v in options.items() if k.endswith(("_file", "_config"))}
    given = ", ".join(f"{k}={v!r}" for k, v in options.items() if k not in files)
    card = CARD[task].format(
        name=name,
        fs=(config.get("frontend_conf") or {}).get("fs", 16000),
        release=config.get("version", ""),
        options=given,
    )
    if files:
        listed = ", ".join(f"`{option}` {path}" for option, path in files.items())
        card += f"\nIts error rates are with {listed} as well, not in the archive.\n"
    return card
