"""The Python of a model card, run as it stands, gives the text of stage 14."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.commands import ROOT, ok, refused
from helpers.random_scorer import write_scorer
from helpers.tiny_pretraining import CONF, run_without_ours

from espnet_a2m.core.config import load_config
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.publish.card import decode_options, model_card

pytestmark = pytest.mark.espnet

USE = """
found = []
for path in sys.argv[1:]:
    speech = soundfile.read(path)[0]
    {use}
    found.append(text)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def decoded(tmp_path_factory, short_utterances) -> tuple[Path, dict[str, str]]:
    """A CTC model that is packed, and its text of three utterances by stage 14's
    command."""
    folder = tmp_path_factory.mktemp("card")
    model = write_scorer(folder)
    config = load_config(folder / "config.yaml")
    config["token_type"] = "char"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_table(folder / "wav.scp", {u: path for u, path, _ in short_utterances[:3]})
    files = ("--asr_train_config", folder / "config.yaml", "--asr_model_file", model)
    ok(
        *("decode", "--data", folder, "--outdir", folder / "out"),
        *("--config", CONF / "decode_ctc.yaml", *files, "--beam_size", "3"),
    )
    pack = ("pack", "asr", "--config", folder / "config.yaml", "--model_file", model)
    pack += ("--outpath", folder / "atm.zip")
    assert "--inference_config" in refused(*pack, cwd=folder)
    options = ("--inference_config", CONF / "decode_ctc.yaml")
    ok(*pack, *options, "--inference_args=--beam_size 3", cwd=folder)
    return folder, read_scp(folder / "out" / "text")


def python_of(page: str) -> str:
    return re.search(r"```python\n(from espnet2.bin.asr_inf.*?)```", page, re.S)[1]


def recognise(folder: Path, *pages: str) -> list[list[str]]:
    """What lines of Python find in the utterances, where there is ESPnet alone."""
    code = "import json, soundfile\n"
    for page in pages:
        *prepare, use = page.strip().splitlines()
        code += "\n".join(prepare) + USE.format(use=use)
    audio = read_scp(folder / "wav.scp").values()
    said = run_without_ours(code, folder, *audio).splitlines()
    return [json.loads(line) for line in said if line.startswith('["')]


def test_lines_of_the_card_and_of_the_documents_give_the_text_of_decoding(decoded):
    folder, text = decoded
    assert all(len(words) > 3 for words in text.values())
    card = zipfile.ZipFile(folder / "atm.zip").read("README.md").decode()
    own = python_of(card)
    defaults = own.replace("ctc_weight=1.0, ", "")
    assert defaults != own and 'from_pretrained("user/name", **options)' in card
    use = "text = speech2text(speech)[0][0]"
    page = (ROOT / "docs/finetuning.md").read_text()
    assert f"`{use}`" in page
    *found, nonsense = recognise(folder, own, python_of(page) + use, defaults)
    assert found == 2 * [list(text.values())]  # a beam of 3 or 5
    assert nonsense != list(text.values())


def test_options_of_other_models_are_told(tmp_path):
    """Those that differ from ESPnet's defaults; language models by name."""
    attention = decode_options(CONF / "decode_ctc_attention.yaml", [])
    assert attention == {"ctc_weight": 0.3, "lm_weight": 0.0, "beam_size": 5}
    more = ["--lm_file", "lm.pth", "--ctc_weight", "0.4"]
    transducer = decode_options(CONF / "decode_transducer.yaml", more)
    assert transducer["transducer_conf"]["score_norm"] is True
    card = model_card("asr", "x", {}, transducer)
    call = re.search(r"options = (dict\(.*\))  #", card)[1]
    del transducer["lm_file"]
    assert eval(call) == transducer
    assert "`lm_file` lm.pth" in card
