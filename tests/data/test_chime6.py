"""CHiME-6: text rules, audio, errors, and scores per session and location."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
from helpers.asterisk_sounds import prompts
from helpers.commands import TEST_DATA
from helpers.meetings import cut, prepare, refused, same_files
from helpers.miniature_chime6 import (
    entry,
    write_audio,
    write_session,
    write_transcription,
)

from espnet_a2m.data.datadir import DataDir
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.recipe

SESSIONS = ("S03", "S02", "S09", "S01")
PARTIAL = {"allow_missing": "true"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of four sessions, and by session what was placed in its audio."""
    folder = tmp_path_factory.mktemp("chime6")
    spoken = prompts(0.8, 2.5)
    placed = {
        session: write_session(folder, session, spoken[12 * i : 12 * (i + 1)])
        for i, session in enumerate(SESSIONS)
    }
    return folder, placed


@pytest.fixture(scope="module")
def data(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("data")
    sets = ("ihm_train", "mdm_train", "ihm_dev", "dev", "eval")
    prepare("chime6", corpus[0], folder, *sets, **PARTIAL)
    return folder


@pytest.fixture
def copy(tmp_path, corpus):
    """A copy of the dev part to damage."""
    target = tmp_path / "copy"
    for kind in ("audio", "transcriptions"):
        shutil.copytree(corpus[0] / kind / "dev", target / kind / "dev")
    return target


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Okay.", "okay"),
        ('Well, "that" is it: no; yes! Right?', "well that is it no yes right"),
        ("I - I mean, we're - late.", "i i mean we're late"),
        ("- Yeah.", "yeah"),
        ("Mm-hmm. Mm- Mm.", "mmhmm mm mm"),
        ("X-ray of e-mail", "x-ray of e-mail"),
        ("[laughs] Okay. [noise]", "okay"),
        ("So [inaudible 0:12:34.56] then", "so then"),
        ("[inaudible - 0:01:02.03] [inaudible] no", "no"),
        ("[redacted]", ""),
        ("My name is [redacted].", ""),
        ("", ""),
    ],
)
def test_text_rules(words, text):
    from espnet_a2m.data.corpora.chime6 import normalise

    assert normalise(words, training=True) == text
    assert normalise(words, training=False) == text


def test_nothing_but_tags_is_evaluated_and_not_trained_on():
    from espnet_a2m.data.corpora.chime6 import normalise

    assert normalise("[laughs] [inaudible 0:00:01.00]", training=True) == ""
    assert normalise("[Laughs]", training=False) == "[laughs]"


def test_worn_microphones_left_channel_to_the_sample(data, corpus):
    train = DataDir.load(data / "ihm_train")
    placed = {k: v for k, v in corpus[1]["S03"].items() if k[0] != "P11"}  # it failed
    assert len(train.utts) == len(placed) == 9
    for (speaker, start), audio in placed.items():
        times = f"{start // 160:07d}-{(start + len(audio)) // 160:07d}"
        utt = f"{speaker}_S03_NOLOCATION.L-{times}"
        assert train.tables["utt2spk"][utt] == speaker
        assert train.segments[utt].channel == 0
        assert np.array_equal(cut(train, utt), audio)
    dev = DataDir.load(data / "ihm_dev")
    assert any(utt.startswith("P05_S02_KITCHEN.L-0000100-") for utt in dev.utts)
    assert {u.split("_")[1] for u in dev.utts} == {"S02", "S09"}


def test_reference_arrays_channel_1(data, corpus):
    """The utterance's own array, location and session; a tag alone is evaluated."""
    dev = DataDir.load(data / "dev")
    assert len(dev.utts) == 2 * (12 + 1)
    entries = {}
    for session in ("S02", "S09"):
        file = corpus[0] / "transcriptions" / "dev" / f"{session}.json"
        for said in json.loads(file.read_text()):
            entries[said["speaker"], session, said["start_time"]] = said
    for utt, segment in dev.segments.items():
        speaker, session, array = utt.split("_")[:3]
        start = f"0:00:{segment.start:05.2f}"
        said = entries[speaker, session, start]
        assert said["ref"] == array and segment.recording == f"{session}_{array}.CH1"
        assert dev.tables["utt2session"][utt] == session
        assert dev.tables["utt2location"][utt] == said["location"].upper()
        path = corpus[0] / "audio" / "dev" / f"{session}_{array}.CH1.wav"
        samples, fs = soundfile.read(path, dtype="int16")
        there = samples[round(segment.start * fs) : round(segment.end * fs)]
        assert np.array_equal(cut(dev, utt), there)
    assert sorted(dev.tables["text"].values())[0] == "[laughs]"


def test_every_array_of_a_training_utterance(data, corpus):
    train = DataDir.load(data / "mdm_train")
    assert len(train.utts) == 2 * 12  # of arrays U01 and U02; P11 is heard by arrays
    assert {s.recording for s in train.segments.values()} == {
        "S03_U01.CH1",
        "S03_U02.CH1",
    }


def test_times_are_lhotses(data, corpus):
    from lhotse.recipes.chime6 import prepare_chime6

    theirs = prepare_chime6(corpus[0], None, "dev", "ihm")["dev"]["supervisions"]
    ours = DataDir.load(data / "ihm_dev")
    kept = {
        (s.recording_id, s.speaker, round(s.start, 2), round(s.end, 2))
        for s in theirs
        if s.text
    }
    assert kept == {
        (u.split("_")[1], ours.tables["utt2spk"][u], s.start, s.end)
        for u, s in ours.segments.items()
    }


def test_a_second_run_changes_nothing(corpus, data, tmp_path):
    for _ in range(2):
        prepare("chime6", corpus[0], tmp_path, "ihm_train", "dev", **PARTIAL)
        for name in ("ihm_train", "dev"):
            assert same_files(tmp_path / name, data / name)


def test_the_four_worn_microphones_that_failed(tmp_path):
    """P11 of S03, and not P11 of S04, where it worked."""
    sound = np.ones((16000, 2), np.int16)
    for session in ("S03", "S04"):
        said = [entry(session, p, 0, 8000, "Hi.") for p in ("P10", "P11")]
        write_transcription(tmp_path, session, said)
        write_audio(tmp_path, session, {"P10": sound, "P11": sound})
    prepare("chime6", tmp_path, tmp_path / "data", "ihm_train", **PARTIAL)
    utts = read_scp(tmp_path / "data" / "ihm_train" / "text")
    kept = {"_".join(utt.split("_")[:2]) for utt in utts}
    assert kept == {"P10_S03", "P10_S04", "P11_S04"}


def test_counts_are_compared_with_published_ones(corpus, tmp_path, capsys):
    prepare("chime6", corpus[0], tmp_path, "dev")  # both sessions: nothing is missing
    said = capsys.readouterr()
    assert "transcriptions/dev: 30 entries where 7,440 are expected" in said.err
    assert "26 utterances" in said.out


# of each session, the arrays that the organisers' audio_md5sums.txt has audio of
ALL_ARRAYS = [f"U0{number}" for number in range(1, 7)]
RECORDED = {
    **{f"S{n:02d}": ALL_ARRAYS for n in (2, 3, 4, 6, 7, 8, 12, 13, *range(16, 25))},
    "S01": ["U01", "U02", "U04", "U05", "U06"],
    "S05": ["U01", "U02", "U05", "U06"],
    "S09": ["U01", "U02", "U03", "U04", "U06"],
    "S22": ["U01", "U02", "U04", "U05", "U06"],
}


def test_arrays_of_the_complete_corpus(tmp_path, capsys):
    """Nothing is missing of a session with every array that was recorded."""
    from lhotse.recipes.chime6 import DATASET_PARTS

    from espnet_a2m.data.corpora import chime6

    sessions = {s for part in DATASET_PARTS.values() for s in part}
    assert {s: chime6.arrays_of(s) for s in sessions} == RECORDED
    sound = np.ones(16000, np.int16)
    write_transcription(tmp_path, "S05", [entry("S05", "P13", 0, 8000, "Hi.")])
    write_audio(tmp_path, "S05", {f"{a}.CH1": sound for a in RECORDED["S05"]})
    prepare("chime6", tmp_path, tmp_path / "data", "mdm_train", **PARTIAL)
    said = capsys.readouterr().err
    assert "S03.json" in said and "S05" not in said
    assert len(read_scp(tmp_path / "data" / "mdm_train" / "text")) == 4


@pytest.mark.parametrize(
    ("values", "location", "array"),
    [
        ({"location": ""}, "NOLOCATION", True),
        ({"location": "garden"}, "NOLOCATION", True),
        ({"ref": ""}, "KITCHEN", False),
        ({"ref": "U07"}, "KITCHEN", False),
    ],
)
def test_entries_without_location_or_reference(
    copy, tmp_path, capsys, values, location, array
):
    """Counted; worn microphones need no reference, arrays are left out without."""
    _change(copy, **values)
    prepare("chime6", copy, tmp_path, "ihm_dev", "dev")
    said = capsys.readouterr().err
    if location == "NOLOCATION":
        assert "WARNING: dev: 1 utterances have no location (DINING" in said
        assert "WARNING: ihm_dev: 1 utterances have no location" in said
    else:
        assert "dev: 1 utterances have no reference array that was recorded" in said
        assert said.count("no reference array") == 1
    assert "S02.json: entry 2" in said
    for name, there in (("ihm_dev", True), ("dev", array)):
        places = read_scp(tmp_path / name / "utt2location")
        second = [u for u in places if u.startswith("P06_S02_")]
        first = min(second, key=lambda utt: utt.split("-")[-2])
        assert len(places) == (26 if there else 25)
        if there:
            assert places[first] == location and f"_{location}." in first


def test_a_set_of_which_nothing_is_there(copy, tmp_path, capsys):
    for array in (copy / "audio" / "dev").glob("*_U0*.wav"):
        array.unlink()
    sets = ("--sets", "ihm_dev", "dev", "--corpus_dir", copy, "--data", tmp_path)
    said = refused(capsys, "chime6", *sets)
    assert "S02_U01.CH1.wav" in said and "openslr.org/150" in said
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "wav.scp").write_text("of an earlier run\n")
    prepare("chime6", copy, tmp_path, "ihm_dev", "dev", **PARTIAL)
    said = capsys.readouterr().err
    assert "audio/dev/S02_U01.CH1.wav" in said  # what was looked for
    assert "dev is not written; if it is a test set, leave it out of --test" in said
    assert read_scp(tmp_path / "ihm_dev" / "text") and not (tmp_path / "dev").exists()
    said = refused(
        capsys, "chime6", *sets, "--allow_missing", "true", "--required", "dev"
    )
    assert "no utterance for dev in it. CHiME-6 (CC BY-SA 4.0) is at" in said


def _session(copy):
    return copy / "transcriptions" / "dev" / "S02.json"


def _change(copy, **values):
    entries = json.loads(_session(copy).read_text())
    entries[1].update(values)
    write_transcription(copy, "S02", entries)


def _no_session(copy):
    _session(copy).unlink()


def _cut_json(copy):
    _session(copy).write_text(_session(copy).read_text()[:-30])


def _no_list(copy):
    _session(copy).write_text("{}")


def _no_array(copy):
    (copy / "audio" / "dev" / "S02_U02.CH1.wav").unlink()


def _cut_array(copy):
    audio = copy / "audio" / "dev" / "S02_U02.CH1.wav"
    audio.write_bytes(audio.read_bytes()[:-100])


def _chime5(copy):
    _change(copy, start_time={"original": "0:00:01.00", "U01": "0:00:01.10"})


def _placeholder(copy):
    _change(copy, words="placeholder", start_time="40.600", end_time="41.920")


def _odd_time(copy):
    _change(copy, start_time="40.600")


def _no_words(copy):
    entries = json.loads(_session(copy).read_text())
    del entries[1]["words"]
    write_transcription(copy, "S02", entries)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_session, ("transcriptions/dev/S02.json", "openslr.org/150")),
        (_cut_json, ("S02.json: damaged", "unpack")),
        (_no_list, ("S02.json: not a list of utterances",)),
        (_no_array, ("audio/dev/S02_U02.CH1.wav", "openslr.org/150")),
        (_cut_array, ("S02_U02.CH1.wav: truncated", "replace the file")),
        (_chime5, ("S02.json: entry 2", "CHiME-5", "synchronised")),
        (_placeholder, ("S02.json: entry 2", "placeholder", "CHiME6_falign")),
        (_odd_time, ("S02.json: entry 2", "'40.600' is not a time")),
        (_no_words, ("S02.json: entry 2", "has no words")),
    ],
)
def test_damage_is_named(copy, tmp_path, capsys, damage, words):
    damage(copy)
    said = refused(
        capsys, "chime6", "--corpus_dir", copy, "--sets", "dev",
        "--data", tmp_path / "data",
    )  # fmt: skip
    assert all(word in said for word in words), said


def test_what_a_user_forgets(tmp_path, capsys):
    assert "Set CHIME6 in the recipe's db.sh" in refused(capsys, "chime6")
    said = refused(capsys, "chime6", "--corpus_dir", tmp_path)
    assert "transcriptions/train/S03.json" in said and "openslr.org/150" in said
    assert "cannot be downloaded" in refused(capsys, "chime6", "--download", "true")


def test_genuine_forced_alignments_are_refused(tmp_path, capsys):
    falign = TEST_DATA / "chime6_annotation_format" / "falign"
    if not falign.is_dir():
        pytest.skip(f"no {falign}")
    shutil.copytree(falign, tmp_path / "transcriptions")
    for name in ("dev", "ihm_train", "eval"):
        said = refused(capsys, "chime6", "--corpus_dir", tmp_path, "--sets", name,
                       "--allow_missing", "true")  # fmt: skip
        assert "entry 1: the words are a placeholder" in said
