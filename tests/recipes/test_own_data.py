"""Somebody's own folder of recordings, through run.sh: with and without transcripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import recipes
from helpers.asterisk_sounds import prompts

from espnet_a2m.data.datadir import DataDir

pytestmark = [pytest.mark.recipe, pytest.mark.slow]

#: What the recipe decides itself
OWN = ("token_type", "scorer_exp", "stop_stage", "eval_scorer")
OPTIONS = {k: v for k, v in recipes.OPTIONS.items() if k not in OWN}


def copy_recipe(target: Path, recordings: Path, **variables: str) -> Path:
    """The recipe, as db.sh makes it this user's."""
    recipes.copy_recipe("own_data", target, RECORDINGS=recordings)
    with (target / "db.sh").open("a") as stream:
        stream.writelines(f"{name}={value}\n" for name, value in variables.items())
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """40 prompts: in flac and wav, in stereo, at 44.1 kHz, with transcripts for 30."""
    root = tmp_path_factory.mktemp("own") / "my recordings"
    for number, (text, samples) in enumerate(prompts(1.2, 6.0)[:40]):
        path = (
            root / f"day {number % 3}" / f"{number}.{'flac' if number % 2 else 'wav'}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = np.stack([samples, samples], 1) if number % 5 == 0 else samples
        soundfile.write(path, audio, 44100 if number % 7 == 0 else 16000)
        row = {"file_name": str(path.relative_to(root)), "text": text.upper()}
        with (root / "manifest.jsonl").open("a") as stream:
            stream.write(json.dumps(row if number < 30 else {**row, "text": ""}) + "\n")
    return root


def test_recordings_without_transcripts_are_pre_trained_on(tmp_path, folder):
    recipe = copy_recipe(tmp_path / "a2m1", folder)
    done = recipes.run(recipe, **OPTIONS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ran = re.findall(r"stage (\d+): ", done.stdout)
    assert ran == ["1", "3", "4", "8", "9", "10", "11"]
    assert (recipe / "exp/ssl_atm/1epoch.pth").exists()
    scored = (recipe / "exp/confidence_energy/own/utt2conf").read_text().splitlines()
    assert len(scored) + len(DataDir.load(recipe / "data/own_valid").utts) == 40
    assert "manifest.jsonl: no audio" in (recipe / "data/own/left_out.txt").read_text()

    init = "exp/ssl_atm/1epoch.pth"
    more = {**OPTIONS, "stage": "11", "ssl_tag": "more", "ssl_init": init}
    done = recipes.run(recipe, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for said in (done.stdout, (recipe / "exp/ssl_more/train.log").read_text()):
        assert f"{init}: " in said and "losses are taken over" in said
    stats = [recipe / f"exp/ssl_{tag}/feats_stats.npz" for tag in ("atm", "more")]
    assert stats[0].read_bytes() == stats[1].read_bytes()


def test_some_transcripts_lead_to_error_rates(tmp_path, folder):
    manifest = folder / "manifest.jsonl"
    recipe = copy_recipe(tmp_path / "a2m1", manifest, TRANSCRIPTS="true")
    done = recipes.run(recipe, **OPTIONS, speed_perturb_factors="")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    sets = {
        name: set(DataDir.load(recipe / f"data/own{name}").utts)
        for name in ("", "_transcribed", "_valid", "_test")
    }
    assert len(sets[""] | sets["_valid"] | sets["_test"]) == 40
    assert len(sets["_transcribed"] | sets["_valid"] | sets["_test"]) == 30
    assert sets["_transcribed"] < sets[""]
    results = (recipe / "RESULTS.md").read_text()
    assert "asr_atm" in results and "own_test CER" in results


def test_what_is_missing_is_said(tmp_path, folder):
    recipe = copy_recipe(tmp_path / "a2m1", Path(""))
    (recipe / "db.sh").write_text((recipe / "db.sh").read_text() + "RECORDINGS=\n")
    done = recipes.run(recipe)
    assert "where are your recordings? Set RECORDINGS in" in done.stderr
    recipe = copy_recipe(tmp_path / "other", folder, TRANSCRIPTS="true")
    done = recipes.run(recipe, stop_stage="1")
    assert "no transcripts were found: give --text_suffix" in done.stderr
    (folder / "damaged.wav").write_bytes(b"RIFF")
    recipe = copy_recipe(tmp_path / "damaged", folder)
    done = recipes.run(recipe, stop_stage="1")
    assert "--skip_bad_audio true leaves them out" in done.stderr
    done = recipes.run(recipe, stop_stage="1", skip_bad_audio="true")
    (folder / "damaged.wav").unlink()
    assert done.returncode == 0
    assert "damaged.wav: " in (recipe / "data/own/left_out.txt").read_text()
    done = recipes.run(recipe, train_set="", scorer="espnet")
    assert "without transcripts no scorer can be trained" in done.stderr
    assert done.returncode == 1
