"""The recipes of large corpora on miniatures in genuine layouts, through run.sh.

One runs from stage 1 to RESULTS.md, the others to the token list; all run to the end
with A2M_RECIPES=all in the environment.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import miniature_corpora as mini
from helpers.asterisk_sounds import prompts
from helpers.commands import SPEECH
from helpers.meetings import same_files
from helpers.miniature_ami import prompts_as_meetings, write_ami
from helpers.miniature_chime6 import write_session
from helpers.recipes import (
    ALL,
    OPTIONS,
    QUICK,
    ROOT,
    TINY,
    copy_recipe,
    run,
    use_cluster,
)

from espnet_a2m.data.datadir import DataDir
from espnet_a2m.data.tables import read_scp

pytestmark = [pytest.mark.recipe, pytest.mark.slow]

ENERGY = {"scorer": "energy", "scorer_conf": "range_db=40"}
SMALL = {"pretrain": "librilight_600", **ENERGY}


def finish(recipe: Path, to_the_end: bool, tests: list[str], **options: str) -> str:
    """Run the recipe, to the end or to stage 5; returns what it said."""
    stop = {"stop_stage": "15" if to_the_end else "5"}
    done = run(recipe, **{**OPTIONS, **options, **stop})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in tests:
        assert read_scp(recipe / "dump" / "raw" / name / "text")
    if to_the_end:
        results = (recipe / "RESULTS.md").read_text()
        assert all(f"{name}|" in results for name in tests)
    return done.stdout + done.stderr


def librilight(folder: Path) -> Path:
    return mini.librilight(folder / "librilight", {"small": mini.prompts()[:16]})


def librispeech(folder: Path, *train: str) -> Path:
    """The training parts (12 prompts each) and the official dev and test parts."""
    some = mini.prompts()
    parts = {name: some[i * 12 : i * 12 + 12] for i, name in enumerate(train)}
    for i, name in enumerate(("dev-clean", "dev-other", "test-clean", "test-other")):
        parts[name] = some[40 + 4 * i : 44 + 4 * i]
    return mini.librispeech(folder / "LibriSpeech", parts)


def test_librispeech_from_librilight(tmp_path):
    """Word pieces, a transducer, and all jobs through a stand-in for Slurm."""
    recipe = copy_recipe(
        "librispeech",
        tmp_path / "recipe",
        LIBRISPEECH=librispeech(tmp_path, "train-clean-100"),
        LIBRILIGHT=librilight(tmp_path),
    )
    options = {
        "test_sets": "test_other",  # each costs a start of ESPnet for each model
        "pretrain": "librilight_600",
        "eval_scorer": str(ALL).lower(),
        "asr_config": str(TINY / "asr_transducer_conformer.yaml"),
        "inference_config": str(ROOT / "conf" / "decode_transducer.yaml"),
        "asr_args": f"{QUICK} --decoder_conf hidden_size=48",
    }
    if not ALL:
        options |= ENERGY
    options |= {"scoring_nj": "2", "token_type": "bpe", "nbpe": "60"}
    use_cluster(recipe)
    said = finish(recipe, True, ["test_other"], **options)
    for name in ("dev_clean", "dev_other", "test_clean"):
        assert len(DataDir.load(recipe / "data" / name, need=["text"]).utts) == 4
    assert "12 utterances where 28,539 are expected" in said
    pretrain = DataDir.load(recipe / "dump" / "raw" / "librilight_600")
    assert "text" not in pretrain.tables and len(pretrain.utts) >= 2
    assert max(map(int, pretrain.tables["utt2num_samples"].values())) <= 32 * mini.FS
    wrong = run(recipe, **OPTIONS | {"stop_stage": "1"}, pretrain="libri")
    assert wrong.returncode != 0 and "librilight_600 or librispeech_960" in wrong.stderr
    absent = run(recipe, **OPTIONS | {"stop_stage": "1"}, pretrain="librilight_60k")
    assert absent.returncode != 0 and "large.tar" in absent.stderr


def test_mini_librispeech(tmp_path):
    corpus = SPEECH / "LibriSpeech"
    recipe = copy_recipe("mini_librispeech", tmp_path / "recipe", LIBRISPEECH=corpus)
    options = {"speed_perturb_factors": ""}
    finish(recipe, ALL, ["dev_clean_2"], **options, **(ENERGY if not ALL else {}))
    assert (recipe / "dump" / "raw" / "train_clean_5" / "text").exists()


def test_tedlium(tmp_path):
    some = mini.prompts()
    parts = {"train": some[:16], "dev": some[16:22], "test": some[22:28]}
    corpus = mini.tedlium(tmp_path / "TEDLIUM_release-3", parts, legacy=True)
    recipe = copy_recipe(
        "tedlium", tmp_path / "recipe", TEDLIUM=corpus, LIBRILIGHT=librilight(tmp_path)
    )
    lost = next(corpus.rglob("train/sph/*.sph"))
    lost.unlink()
    partial = run(recipe, **{**OPTIONS, **SMALL, "stop_stage": "1"})
    assert partial.returncode != 0 and lost.stem in partial.stderr
    options = {"test_sets": "tedlium_test", "allow-missing": "true"}
    finish(recipe, ALL, ["tedlium_test"], **SMALL, **options)
    assert len(read_scp(recipe / "data" / "tedlium_dev" / "text")) == 6


def test_commonvoice(tmp_path):
    some = mini.prompts()
    parts = {"train": some[:16], "dev": some[16:22], "test": some[22:28]}
    corpus = mini.commonvoice(tmp_path / "cv-corpus-9.0", parts)
    recipe = copy_recipe(
        "commonvoice",
        tmp_path / "recipe",
        COMMONVOICE=corpus,
        LIBRILIGHT=librilight(tmp_path),
    )
    finish(recipe, ALL, ["commonvoice_test"], **SMALL, test_sets="commonvoice_test")
    assert len(read_scp(recipe / "data" / "commonvoice_train" / "text")) == 15
    # one sentence of each has a digit; test sets keep it
    assert len(read_scp(recipe / "data" / "commonvoice_dev" / "text")) == 6
    # a new corpus is a module and the template with its name in two files
    places = {"NEWCORPUS": corpus, "LIBRILIGHT": librilight(tmp_path)}
    copy = copy_recipe("TEMPLATE", tmp_path / "copy", **places)
    for file in (copy / "run.sh", copy / "db.sh"):
        text = file.read_text().replace("newcorpus", "commonvoice")
        file.write_text(text.replace("NEWCORPUS", "COMMONVOICE"))
    done = run(copy, **{**OPTIONS, **SMALL, "stop_stage": "1"})
    assert done.returncode == 0, done.stderr
    names = [path.name for path in (copy / "data").iterdir()]
    assert {"commonvoice_train", "commonvoice_valid", "librilight_600"} <= {*names}
    for name in names:
        assert same_files(copy / "data" / name, recipe / "data" / name)


def test_speechstew(tmp_path):
    """A mixture of some corpora; the others are said to be left out, once."""
    some = mini.prompts()
    train = ("train-clean-100", "train-clean-360", "train-other-500")
    parts = {"train": some[:6], "dev": some[6:10], "test": some[10:14]}
    write_ami(tmp_path / "ami", prompts_as_meetings(prompts(0.8, 2.5)[:24]))
    for session in ("S02", "S09"):  # nothing of eval
        write_session(tmp_path / "chime6", session, prompts(0.8, 2.5)[:6])
    recipe = copy_recipe(
        "speechstew",
        tmp_path / "recipe",
        AMI=tmp_path / "ami",
        CHIME6=tmp_path / "chime6",
        LIBRISPEECH=librispeech(tmp_path, *train),
        TEDLIUM=mini.tedlium(tmp_path / "ted", parts, legacy=True),
        COMMONVOICE=mini.commonvoice(tmp_path / "cv", parts),
        SWITCHBOARD=mini.switchboard(tmp_path / "swb", some[:8]),
        WSJ=mini.wsj(tmp_path / "wsj", some[:9]),
        LIBRILIGHT=librilight(tmp_path),
    )
    tests = ["ami_sdm1_eval", "chime6_dev"]  # to be formatted; all are prepared
    options = {"test_sets": " ".join(tests), "allow_missing": "true"}
    said = finish(recipe, ALL, tests, **options, **SMALL)
    for name in (
        "librispeech_test_clean",
        "tedlium_test",
        "commonvoice_test",
        "wsj_eval92",
    ):
        assert read_scp(recipe / "data" / name / "text")
    assert said.count("Left out, because db.sh does not say where they are") == 1
    assert "where they are: fisher" in said
    assert "data/chime6_eval is not written; leave it out of --test_sets" in said
    assert not (recipe / "data" / "chime6_eval").exists()
    union = DataDir.load(recipe / "data" / "speechstew_train", need=["text"])
    ami = len(DataDir.load(recipe / "data" / "own" / "ami" / "ihm_train").utts)
    assert (
        ami > 4
    )  # and as many of the arrays; one sentence of Common Voice has a digit
    assert len(union.utts) == 36 + 2 * ami + 6 + 5 + 8 + 3
    chime = DataDir.load(recipe / "data" / "chime6_dev", need=["text"])
    assert {"utt2session", "utt2location"} <= chime.tables.keys()  # for its scores
    letters = set("".join(union.tables["text"].values()))
    assert letters <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    for name, own in (("chime6_dev", "chime6/dev"), ("ami_ihm_dev", "ami/ihm_dev")):
        complete = DataDir.load(recipe / "data" / "own" / own)
        assert DataDir.load(recipe / "data" / name).utts == complete.utts
    assert "[laughs]" in chime.tables["text"].values()
    nothing = copy_recipe("speechstew", tmp_path / "nothing")
    failed = run(nothing, **OPTIONS)
    assert failed.returncode != 0 and "names no corpus to train on" in failed.stderr
