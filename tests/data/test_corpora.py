"""Corpora in their genuine layouts to data directories: rules, ids, times, mistakes."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import miniature_corpora as mini
from helpers.commands import SPEECH
from helpers.meetings import prepare
from helpers.meetings import refused_sets as refused

from espnet_a2m.data.audio import convert
from espnet_a2m.data.corpora import librilight
from espnet_a2m.data.datadir import DataDir
from espnet_a2m.data.formatting import (
    combine_data,
    format_wav,
)
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.recipe


def cut(data: Path, dump: Path) -> dict[str, np.ndarray]:
    """What stage 3 makes of a data directory: samples by utterance."""
    format_wav.main(["--audio_format", "wav", str(data), str(dump)])
    written = DataDir.load(dump).wav_scp
    return {
        utt: soundfile.read(path, dtype="int16")[0] for utt, path in written.items()
    }


# ------------------------------------------------------------------- LibriSpeech
@pytest.fixture
def librispeech(tmp_path) -> Path:
    parts = {"train-clean-100": mini.prompts()[:4], "dev-clean": mini.prompts()[4:8]}
    return mini.librispeech(tmp_path / "LibriSpeech", parts)


def test_librispeech(tmp_path, librispeech, capsys):
    prepare("librispeech", librispeech, tmp_path / "data", "train_100", "dev_clean")
    said = capsys.readouterr()
    assert "4 utterances where 28,539 are expected (the transcripts of" in said.err
    written = DataDir.load(tmp_path / "data" / "train_100", need=["text", "utt2spk"])
    assert written.utts == [
        "100-5000-0000",
        "100-5000-0001",
        "101-5000-0000",
        "101-5000-0001",
    ]
    assert written.tables["text"]["101-5000-0000"] == mini.prompts()[1].text
    assert written.tables["utt2spk"]["101-5000-0000"] == "101"
    samples = cut(tmp_path / "data" / "train_100", tmp_path / "dump")
    np.testing.assert_array_equal(samples["101-5000-0000"], mini.prompts()[1].samples)
    # from the folder above it, and again
    prepare("librispeech", tmp_path, tmp_path / "data", "train_100")
    assert DataDir.load(tmp_path / "data" / "train_100").utts == written.utts


def test_librispeech_that_is_incomplete(tmp_path, librispeech, capsys):
    data = tmp_path / "data"
    message = refused(capsys, "librispeech", librispeech, data, "train_960")
    assert "train-clean-360" in message and "dev-clean, train-clean-100" in message
    assert "openslr.org/12" in message
    assert "LIBRISPEECH in" in refused(
        capsys, "librispeech", tmp_path / "no", data, "dev"
    )
    home = librispeech / "train-clean-100" / "100" / "5000"
    flac = home / "100-5000-0001.flac"
    flac.write_bytes(b"fLaC")
    message = refused(capsys, "librispeech", librispeech, data, "train_100")
    assert "100-5000-0001.flac" in message
    flac.unlink()
    message = refused(capsys, "librispeech", librispeech, data, "train_100")
    assert "1 utterances have no flac file: 100-5000-0001" in message
    prepare("librispeech", librispeech, data, "train_100", allow_missing="true")
    assert len(DataDir.load(data / "train_100").utts) == 3
    (home / "100-5000.trans.txt").write_text("")
    message = refused(capsys, "librispeech", librispeech, data, "train_100")
    assert "1 flac files have no transcript: 100-5000-0000" in message


def test_genuine_librispeech(tmp_path):
    sets = {"dev_clean_2": (19, 6), "train_clean_5": (31, 16)}
    prepare("librispeech", SPEECH / "LibriSpeech", tmp_path, *sets)
    for name, (utterances, speakers) in sets.items():
        written = DataDir.load(tmp_path / name, need=["text", "utt2spk"])
        assert len(written.utts) == utterances
        assert len(set(written.tables["utt2spk"].values())) == speakers


# ------------------------------------------------------------------- Libri-Light
def test_voice_activity_is_joined():
    stretches = [(0.4, 12.32), (12.9, 20.0), (20.5, 33.0), (36.0, 37.0), (37.5, 110.0)]
    segments = librilight.cut(stretches)
    assert segments == [
        (0.4, 20.0),  # up to 33 s would be too long
        (20.5, 33.0),  # the pause after it is long
        (36.0, 37.0),
        *((37.5, 61.667), (61.667, 85.833), (85.833, 110.0)),  # too long by itself
    ]
    assert all(end - start <= librilight.LONGEST for start, end in segments)
    assert librilight.cut([]) == []


@pytest.fixture
def books(tmp_path) -> Path:
    parts = {"small": mini.prompts()[:8], "medium": mini.prompts()[8:20]}
    return mini.librilight(tmp_path / "librilight", parts)


def test_librilight(tmp_path, books, capsys):
    prepare("librilight", books, tmp_path, "librilight_600", "librilight_6k")
    assert "2 speakers where 489 are expected" in capsys.readouterr().err
    written = DataDir.load(tmp_path / "librilight_6k")  # checks the order, too
    assert len(written.wav_scp) == 4 and "text" not in written.tables
    # "99-..." comes before "990-...", and has books of both parts
    speakers = [written.tables["utt2spk"][utt] for utt in written.utts]
    assert list(dict.fromkeys(speakers)) == ["99", "990", "991"]
    first = written.utts[0]
    assert first == "99-book_0_librivox_64kb_mp3-book_0_01_author_64kb-0000"
    segment = written.segments[first]
    told = json.loads(
        Path(written.wav_scp[segment.recording]).with_suffix(".json").read_text()
    )
    assert segment.start == told["voice_activity"][0][0]
    assert all(s.end - s.start <= 32 for s in written.segments.values())
    before = {p.name: p.read_bytes() for p in (tmp_path / "librilight_6k").iterdir()}
    prepare("librilight", books, tmp_path, "librilight_6k")
    assert before == {
        p.name: p.read_bytes() for p in (tmp_path / "librilight_6k").iterdir()
    }


def test_librilight_that_is_incomplete(tmp_path, books, capsys):
    data = tmp_path / "data"
    message = refused(capsys, "librilight", books, data, "librilight_60k")
    assert str(books / "large") in message and "large.tar" in message
    about = next(books.glob("small/99/*/*.json"))
    good = about.read_text()
    for bad in ("{", '{"speaker": "99"}', "[]"):
        about.write_text(bad)
        message = refused(capsys, "librilight", books, data, "librilight_600")
        assert str(about) in message and "voice_activity" in message
    about.unlink()
    message = refused(capsys, "librilight", books, data, "librilight_600")
    assert "1 recordings have no" in message and about.stem in message
    assert list((data / "librilight_600").iterdir()) == []  # nothing half-written
    about.write_text(good)
    prepare("librilight", books, data, "librilight_600")
    assert len(DataDir.load(data / "librilight_600").wav_scp) == 2


# --------------------------------------------------------------------- TED-LIUM
@pytest.mark.parametrize("legacy", [True, False])
def test_tedlium(tmp_path, legacy, capsys):
    name = "TEDLIUM_release-3" if legacy else "TEDLIUM_release2"
    parts = {"dev": mini.prompts()[:6], "test": mini.prompts()[6:10]}
    root = mini.tedlium(tmp_path / name, parts, legacy)
    for folder in (root, tmp_path):
        prepare("tedlium", folder, tmp_path / "data", "tedlium_dev", "tedlium_test")
    assert "6 utterances where 507 are expected" in capsys.readouterr().err
    written = DataDir.load(tmp_path / "data" / "tedlium_dev", need=["text", "utt2spk"])
    samples, spans = mini.join(mini.prompts()[:6:2])
    start, end, said = spans[0]
    utt = f"SpeakerDev0_2010-{round(100 * start):07d}-{round(100 * end):07d}"
    assert len(written.utts) == 6  # what is not to be scored is not there
    assert written.tables["text"][utt] == said  # 's joined again, <unk> gone
    assert written.tables["utt2spk"][utt] == "SpeakerDev0_2010"
    cuts = cut(tmp_path / "data" / "tedlium_dev", tmp_path / "dump")
    expected = samples[round(start * mini.FS) : round(end * mini.FS)]
    np.testing.assert_array_equal(cuts[utt], expected)


def test_tedlium_that_is_incomplete(tmp_path, capsys):
    root = mini.tedlium(tmp_path / "ted", {"dev": mini.prompts()[:4]}, True)
    data = tmp_path / "data"
    message = refused(capsys, "tedlium", root, data, "tedlium_train")
    assert "train" in message and "openslr.org/51" in message
    (tmp_path / "empty").mkdir()
    message = refused(capsys, "tedlium", tmp_path / "empty", data, "tedlium_dev")
    assert (
        "no legacy/*/stm/*.stm or */stm/*.stm in it" in message
        and "TEDLIUM_release-3" in message
    )
    stm = root / "legacy" / "dev" / "stm" / "SpeakerDev1_2010.stm"
    good = stm.read_text()
    stm.write_text(good + "SpeakerDev1_2010 1 x 7 6 <o,f0,male> backwards\n")
    message = refused(capsys, "tedlium", root, data, "tedlium_dev")
    assert f"{stm}:4: " in message and "<start> <end>" in message
    sph = root / "legacy" / "dev" / "sph" / "SpeakerDev1_2010.sph"
    stm.write_text(good)
    header = sph.read_bytes()
    sph.write_bytes(header.replace(b"s3 pcm\n", b"s26 pcm,embedded-shorten-v2.00\n", 1))
    message = refused(capsys, "tedlium", root, data, "tedlium_dev")
    assert str(sph) in message and "sph2pipe" in message
    sph.write_bytes(b"NIST_1A\n")
    assert str(sph) in refused(capsys, "tedlium", root, data, "tedlium_dev")
    sph.unlink()
    message = refused(capsys, "tedlium", root, data, "tedlium_dev")
    assert "without one of them: SpeakerDev1_2010" in message


# ----------------------------------------------------------------- Common Voice
def test_commonvoice(tmp_path, capsys):
    parts = {"test": mini.prompts()[:4], "train": mini.prompts()[4:6]}
    root = mini.commonvoice(tmp_path / "cv-corpus-9.0", parts)
    for folder in (tmp_path, root, root / "en"):
        prepare("commonvoice", folder, tmp_path / "data", "commonvoice_test")
    assert "left out" not in capsys.readouterr().err  # test sets lose nothing
    prepare("commonvoice", root, tmp_path / "data", "commonvoice_train")
    said = capsys.readouterr().err
    assert "commonvoice_train: 1 utterances left out" in said and "'Chapter 4'" in said
    train = read_scp(tmp_path / "data" / "commonvoice_train" / "text")
    assert list(train.values()) == [mini.prompts()[4].text]
    written = DataDir.load(
        tmp_path / "data" / "commonvoice_test", need=["text", "utt2spk"]
    )
    prompt = mini.prompts()[1]
    speaker = (b"te".hex() + "1") * 4
    utt = f"{speaker}-common_voice_en_17250002"
    assert len(written.utts) == 4 and written.tables["utt2spk"][utt] == speaker
    assert written.tables["text"][utt] == prompt.text
    assert "CHAPTER 4" in written.tables["text"].values()
    cuts = cut(tmp_path / "data" / "commonvoice_test", tmp_path / "dump")
    assert len(cuts[utt]) == len(prompt.samples)  # the complete mp3, no padding
    both = np.corrcoef(cuts[utt], prompt.samples)[0, 1]
    assert both > 0.95  # in time with it


def test_commonvoice_that_is_incomplete(tmp_path, capsys):
    root = mini.commonvoice(tmp_path / "cv", {"test": mini.prompts()[:3]})
    data = tmp_path / "data"
    message = refused(capsys, "commonvoice", root, data, "commonvoice_dev")
    assert "dev.tsv: no such file; there is test.tsv" in message
    clip = next((root / "en" / "clips").glob("*1.mp3"))
    complete = clip.read_bytes()
    clip.write_bytes(b"")
    message = refused(capsys, "commonvoice", root, data, "commonvoice_test")
    assert f"1 of 3 clips of test.tsv are missing or have no bytes: {clip}" in message
    assert "Unpack the archive again" in message and "--allow_missing true" in message
    prepare("commonvoice", root, data, "commonvoice_test", allow_missing="true")
    assert f"have no bytes: {clip}; they are left" in capsys.readouterr().err
    assert len(DataDir.load(data / "commonvoice_test").utts) == 2
    clip.unlink()
    message = refused(capsys, "commonvoice", root, data, "commonvoice_test")
    assert "1 of 3 clips of test.tsv" in message and clip.name in message
    prepare("commonvoice", root, data, "commonvoice_test", allow_missing="true")
    clip.write_bytes(complete)
    table = root / "en" / "test.tsv"
    good = table.read_text()
    table.write_text(good.replace("Chapter 4", ""))
    prepare("commonvoice", root, data, "commonvoice_test")
    assert "1 clips left out, which have no sentence in" in capsys.readouterr().err
    assert len(DataDir.load(data / "commonvoice_test").utts) == 2
    table.write_text(good + "a1b2\tcommon_voice")
    message = refused(capsys, "commonvoice", root, data, "commonvoice_test")
    assert f"{table}:5: truncated line" in message
    table.write_text(good.replace("client_id", "speaker"))
    message = refused(capsys, "commonvoice", root, data, "commonvoice_test")
    assert "no column client_id" in message


# ------------------------------------------------------------------ LDC's corpora
def test_switchboard(tmp_path, capsys):
    root = mini.switchboard(tmp_path / "swb", mini.prompts()[:6])
    prepare("switchboard", root, tmp_path / "data", "switchboard")
    assert "1 recordings where 2,438 are expected" in capsys.readouterr().err
    written = DataDir.load(tmp_path / "data" / "switchboard", need=["text", "utt2spk"])
    samples, sides = mini.call(mini.prompts()[:6])
    assert len(written.utts) == 6  # silence is none
    cuts = cut(tmp_path / "data" / "switchboard", tmp_path / "dump")
    for channel, spans in enumerate(sides):
        start, end, said = spans[1]
        speaker = f"sw02001-{'AB'[channel]}"
        utt = f"{speaker}_{round(100 * start):06d}-{round(100 * end):06d}"
        assert written.tables["utt2spk"][utt] == speaker
        assert written.tables["text"][utt] == f"{said} TH"
        assert written.segments[utt].channel == channel
        part = samples[round(start * 8000) : round(end * 8000), channel]
        expected = convert(part, 8000, mini.FS) * 32768
        assert np.corrcoef(cuts[utt], expected[: len(cuts[utt])])[0, 1] > 0.99
    shutil.rmtree(root / "swb_ms98_transcriptions" / "20")
    message = refused(capsys, "switchboard", root, tmp_path / "data", "switchboard")
    assert "no sw*-trans.text anywhere" in message and "openslr.org" in message


def test_fisher(tmp_path, capsys):
    root = mini.fisher(tmp_path / "fisher", mini.prompts()[:8])
    prepare("fisher", root, tmp_path / "data", "fisher")
    assert "2 recordings where 11,699 are expected" in capsys.readouterr().err
    written = DataDir.load(tmp_path / "data" / "fisher", need=["text", "utt2spk"])
    _, sides = mini.call(mini.prompts()[0:8:2])
    start, end, said = sides[1][0]
    utt = f"fe_03_00001-B_{round(100 * start):06d}-{round(100 * end):06d}"
    assert len(written.utts) == 8  # without what was not understood
    assert written.tables["text"][utt] == said and written.segments[utt].channel == 1
    shutil.rmtree(root / "LDC2005S13")
    message = refused(capsys, "fisher", root, tmp_path / "data", "fisher")
    assert "LDC2005S13/<disc>/audio" in message and "0 and 1 files" in message
    prepare("fisher", root, tmp_path / "data", "fisher", allow_missing="true")
    assert len(DataDir.load(tmp_path / "data" / "fisher").wav_scp) == 1


def test_wsj(tmp_path, capsys):
    root = mini.wsj(tmp_path / "wsj", mini.prompts()[:9])
    data = tmp_path / "data"
    sets = ("wsj_si284", "wsj_dev93", "wsj_eval92")
    prepare("wsj", root, data, *sets)
    assert "3 utterances where 37,416 are expected" in capsys.readouterr().err
    for index, name in enumerate(sets):
        written = DataDir.load(data / name, need=["text", "utt2spk"])
        utt = f"44{index}c0201"
        assert written.tables["text"][utt] == mini.prompts()[3 * index + 1].text
        assert written.tables["utt2spk"][utt] == f"44{index}"
    cuts = cut(data / "wsj_eval92", tmp_path / "dump")
    np.testing.assert_array_equal(cuts["442c0201"], mini.prompts()[7].samples)
    next(root.rglob("442c0201.wv1")).unlink()
    message = refused(capsys, "wsj", root, data, "wsj_eval92")
    assert "1 of 3 recordings of wsj_eval92" in message and "442c0201" in message
    shutil.rmtree(root / "11-13.1")
    assert "no wsj0/doc/indices" in refused(capsys, "wsj", root, data, "wsj_eval92")


# ---------------------------------------------------------------------- together
def test_sets_are_put_together(tmp_path, librispeech, capsys):
    prepare("librispeech", librispeech, tmp_path, "train_100", "dev_clean")
    sets = [tmp_path / "train_100", tmp_path / "dev_clean"]
    table = sets[0] / "text"
    lines = table.read_text().splitlines()
    first = lines[0].split()[0]
    table.write_text("\n".join([f"{first} Number 9", *lines[1:]]) + "\n")
    combine_data.main([str(tmp_path / "all"), *map(str, sets)])
    said = capsys.readouterr()
    assert "1 utterances left out" in said.err and "'Number 9'" in said.err
    written = DataDir.load(tmp_path / "all", need=["text", "utt2spk"])
    assert len(written.utts) == len(written.wav_scp) == 7 and first not in written.utts
    combine_data.main([str(tmp_path / "kept"), str(sets[0]), "--keep_all"])
    kept = DataDir.load(tmp_path / "kept", need=["text"])
    assert len(kept.utts) == 4 and kept.tables["text"][first] == "NUMBER 9"
    other = tmp_path / "other"
    shutil.copytree(sets[1], other)
    segments = other / "segments"
    segments.write_text(segments.read_text().replace(" 0.0 ", " 0.1 "))
    with pytest.raises(SystemExit):
        combine_data.main([str(tmp_path / "all"), *map(str, (sets[1], other))])
    assert "are in one before it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["commonvoice", "fisher", "librilight", "librispeech"])
def test_modules_are_as_the_command_line_expects(name):
    """lhotse is imported when it is used: --help is quick."""
    module = importlib.import_module(f"espnet_a2m.data.corpora.{name}")
    assert module.WHERE.endswith(".") and set(getattr(module, "PUBLISHED", ())) <= set(
        module.SETS
    )
    assert "Recording" not in vars(module)
