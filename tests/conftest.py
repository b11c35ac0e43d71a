"""Real speech for the tests, from tests/speech; rules for their markers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: models this small gain nothing from a second thread, and
# lose much where the processors are busy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import soundfile
from helpers.commands import ROOT, SPEECH, make_dir
from helpers.tiny_pretraining import QUICK, SMALL, asr_options, data_options, make_data

# --- Real speech -----------------------------------------------------------------


@pytest.fixture(scope="session")
def librispeech() -> dict[str, tuple[Path, str]]:
    """Utterance id -> (flac file, transcript) of 50 utterances of 22 speakers."""
    utterances = {}
    for table in sorted((SPEECH / "LibriSpeech").rglob("*.trans.txt")):
        for line in table.read_text(encoding="utf-8").splitlines():
            utt_id, text = line.split(" ", 1)
            utterances[utt_id] = (table.parent / f"{utt_id}.flac", text)
    return utterances


@pytest.fixture(scope="session")
def short_utterances(librispeech) -> list[tuple[str, Path, str]]:
    """(id, flac file, transcript), the shortest first: 1.6 s to 11.3 s."""
    by_length = sorted(
        librispeech, key=lambda u: soundfile.info(librispeech[u][0]).frames
    )
    return [(utt_id, *librispeech[utt_id]) for utt_id in by_length]


@pytest.fixture
def speech_dir(tmp_path, short_utterances) -> Path:
    """A data directory of 40 real utterances with transcripts."""
    some = short_utterances[:40]
    return make_dir(
        tmp_path / "data" / "train",
        {utt: path for utt, path, _ in some},
        text={utt: text for utt, _, text in some},
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory, short_utterances) -> Path:
    """A formatted data directory of 24 utterances, 1.7 s to 5 s, 60 s in all."""
    directory = tmp_path_factory.mktemp("data")
    make_data(directory, short_utterances[1:49:2])
    return directory


@pytest.fixture(scope="session")
def scorer(tmp_path_factory, data) -> Path:
    """The experiment of a CTC model that ESPnet has trained for one epoch."""
    from espnet2.bin.asr_train import main

    exp = tmp_path_factory.mktemp("scorer")
    main(
        [*asr_options(data, "asr_ctc_conformer.yaml"), *SMALL, *QUICK]
        + [*data_options(data, "text,text,text"), "--max_epoch", "1"]
        + ["--normalize", "utterance_mvn", "--output_dir", str(exp)]
    )
    return exp


@pytest.fixture(scope="session")
def confidence(tmp_path_factory, data, scorer) -> Path:
    """Confidences of the data directory."""
    from espnet_a2m.bin.score import main

    output = tmp_path_factory.mktemp("confidence")
    main(
        ["--asr_model_file", str(scorer / "1epoch.pth"), "--data", str(data)]
        + ["--output_dir", str(output)]
    )
    return output


# --- Markers ---------------------------------------------------------------------

#: Each file has one of them (pyproject.toml says what they mean)
KINDS = {"unit", "espnet", "recipe"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m unit`` does not import the other files, some of which import ESPnet."""
    if config.option.markexpr == "unit" and collection_path.name.startswith("test_"):
        text = collection_path.read_text(encoding="utf-8")
        return "\npytestmark = pytest.mark.unit\n" not in text or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the markers; files with long tests first, so that none is left for last.

    Raises:
        pytest.UsageError: A file has no marker of its kind, or a unit test is slow.
    """
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if len(marks & KINDS) != 1 or {"unit", "slow"} <= marks:
            raise pytest.UsageError(
                f"{item.nodeid}: set pytestmark of its file to one of "
                f"{', '.join(sorted(KINDS))}; unit tests may not be slow"
            )
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    recipe = ROOT / "tests" / "recipes" / "test_recipe.py"  # the longest
    items.sort(key=lambda item: (item.path != recipe, item.path not in slow))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """With ``-m unit``, fail the test that imports ESPnet."""
    yield
    if item.config.option.markexpr == "unit":
        assert "espnet2" not in sys.modules, "a unit test may not import ESPnet"


# --- Planner ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """Options of the tiny w2v-BERT, as the planner reads them."""
    from helpers.planning import tiny_args

    return tiny_args()


@pytest.fixture(scope="module")
def count(tiny):
    """A step of it."""
    from helpers.planning import SECONDS

    from espnet_a2m.training.estimate import count_step

    return count_step(tiny, SECONDS, tokens_per_second=4)
