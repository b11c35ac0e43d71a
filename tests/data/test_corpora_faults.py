"""Corpora of which a file is odd, cut off, packed or elsewhere than expected."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import meetings
from helpers import miniature_corpora as mini
from helpers.meetings import prepare
from helpers.meetings import refused_sets as refused

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.audio import audio_info
from espnet_a2m.data.datadir import DataDir
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.recipe


# ------------------------------------------------------- Files of other systems
def test_librispeech_from_a_foreign_disk(tmp_path, capsys, short_utterances):
    root = tmp_path / "corpus"
    chapter = root / "LibriSpeech" / "dev-clean-2" / "84" / "121123"
    chapter.mkdir(parents=True)
    for number, (_, path, _) in enumerate(short_utterances[:3]):
        shutil.copy(path, chapter / f"84-121123-000{number}.flac")
    utts = [f"84-121123-000{number}" for number in range(3)]
    table = chapter / "84-121123.trans.txt"
    lines = [f"{utt} WORDS\n" for utt in utts]
    table.write_text("\ufeff" + "".join(lines), encoding="utf-8")
    for name in (utts[0] + ".flac", table.name):  # macOS adds these
        (chapter / f"._{name}").write_bytes(bytes.fromhex("0005160700020000b0ffaa"))
    prepare("librispeech", root, tmp_path / "data", "dev_clean_2")
    assert list(read_scp(tmp_path / "data/dev_clean_2/text")) == utts
    for content, message in (
        ((lines[0] + "é\n").encode("latin-1"), r"trans\.txt:2: damaged: no UTF-8"),
        ("".join([lines[0], *lines]).encode(), r"trans\.txt:2: 84-121123-0000: twice"),
    ):
        table.write_bytes(content)
        said = refused(capsys, "librispeech", root, tmp_path / "data", "dev_clean_2")
        assert re.search(message, said)


# --------------------------------------------------------------- NIST SPHERE files
def miniature(corpus: str, folder: Path) -> Path:
    """A miniature of a corpus that comes in .sph or .wv1."""
    some = mini.prompts()[:9]
    if corpus == "tedlium":
        return mini.tedlium(folder, {"train": some, "dev": some, "test": some}, True)
    return getattr(mini, corpus)(folder, some)


@pytest.mark.parametrize("corpus", ["tedlium", "switchboard", "fisher", "wsj"])
def test_a_truncated_sphere_file_is_named(tmp_path, capsys, corpus):
    root = miniature(corpus, tmp_path / "corpus")
    audio = sorted((*root.rglob("*.sph"), *root.rglob("*.wv1")))[-1]
    audio.write_bytes(audio.read_bytes()[:-1000])
    arguments = ("--corpus_dir", root, "--data", tmp_path / "data")
    said = meetings.refused(capsys, corpus, *arguments)
    assert f"{audio}: truncated: " in said


def test_a_sphere_file_that_does_not_tell_its_size(tmp_path):
    path = mini.write(tmp_path / "a.sph", np.ones(2000, np.int16), format="NIST")
    complete = path.read_bytes()
    path.write_bytes(complete.replace(b"sample_count", b"no_such_count")[:2000])
    assert audio_info(str(path)).frames == (2000 - 1024) / 2
    path.write_bytes(complete[:-1])
    with pytest.raises(DataError, match="truncated"):
        audio_info(str(path))


def test_the_loop_that_unpacks_shortened_files(tmp_path, capsys):
    """As printed, run by a shell; `cp` stands for sph2pipe, which is not available."""
    root = mini.wsj(tmp_path / "the discs", mini.prompts()[:9])
    packed = next(root.rglob("442c0201.wv1"))
    complete = packed.read_bytes()
    short = complete.replace(b"s3 pcm\n", b"s26 pcm,embedded-shorten-v2.00\n", 1)
    packed.write_bytes(short)
    (root / "linked").symlink_to(root / "11-13.1", target_is_directory=True)
    said = refused(capsys, "wsj", root, tmp_path / "data", "wsj_eval92")
    assert f"{packed}: compressed by shorten" in said
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    program = tmp_path / "bin" / "sph2pipe"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1 $2 $3" = "-p -f sph" ] && cp "$4" "$5"\n')
    program.chmod(0o755)
    loop = said[said.index("NEW=") : said.index("done\n") + 5]
    path = f"{program.parent}:{os.environ['PATH']}"
    for _ in range(2):  # the second time, all is there and nothing is overwritten
        subprocess.run(["sh", "-ec", loop], check=True, env={"PATH": path})
        assert before == {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
        new = tmp_path / "the discs-unpacked"
        copy = new / packed.relative_to(root)
        assert copy.is_file() and not list(new.rglob("*.part"))
        copy.write_bytes(complete)
    prepare("wsj", new, tmp_path / "data", "wsj_eval92")
    assert len(DataDir.load(tmp_path / "data" / "wsj_eval92").utts) == 3


# ------------------------------------------------------------------ damaged texts
@pytest.mark.parametrize(
    ("corpus", "pattern", "line", "words"),
    [
        ("fisher", "*.txt", b"12.3 A: cut", "is not <start> <end> <A or B>: <words>"),
        ("fisher", "*.txt", b"1.0 2.0 A: caf\xe9", "no UTF-8 at byte"),
        ("switchboard", "*-trans.text", b"sw2001A-ms98-a-0009 12.3", "<words>"),
        ("switchboard", "*-trans.text", b"sw2001A-ms98-a-0009 x 12.3 hi", "<words>"),
        ("wsj", "440c0200.dot", b"nobody says that", "no (<utterance>) ends it"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, capsys, corpus, pattern, line, words):
    root = miniature(corpus, tmp_path / "corpus")
    text = next(root.rglob(pattern))
    number = len(text.read_bytes().splitlines()) + 1
    text.write_bytes(text.read_bytes().rstrip(b"\n") + b"\n" + line)
    said = meetings.refused(
        capsys, corpus, "--corpus_dir", root, "--data", tmp_path / "data"
    )
    assert f"{text}:{number}: " in said and words in said


def test_a_blank_line_is_none(tmp_path):
    root = miniature("switchboard", tmp_path / "corpus")
    for text in root.rglob("*-trans.text"):
        text.write_text(text.read_text() + "\n\n")
    prepare("switchboard", root, tmp_path / "data", "switchboard")
    assert len(DataDir.load(tmp_path / "data" / "switchboard").utts) == 9


def test_ids_that_two_utterances_have(tmp_path, capsys):
    """The first is kept: LDC's files cannot be fixed. One without length is none."""
    root = miniature("switchboard", tmp_path / "corpus")
    text = next(root.rglob("sw2001A-*-trans.text"))
    utt, start, end, said = text.read_text().splitlines()[1].split(maxsplit=3)
    lines = f"{utt} {start} {end} once more\n{utt} {end} {end} and none\n"
    text.write_text(text.read_text() + lines)
    prepare("switchboard", root, tmp_path / "data", "switchboard")
    warned = capsys.readouterr().err
    name = f"sw02001-A_{round(100 * float(start)):06d}-"
    assert "1 utterances left out whose ids others have, of which the first" in warned
    assert f"are kept: {name}" in warned and "or have no length: sw02001-A" in warned
    written = read_scp(tmp_path / "data" / "switchboard" / "text")
    (kept,) = (words for utt, words in written.items() if utt.startswith(name))
    assert len(written) == 9 and kept != "ONCE MORE" and said


def test_fisher_is_read_as_by_lhotse(tmp_path):
    """Whose mistake in a call is corrected, and what passes the end is cut."""
    from lhotse.audio.backend import audio_backend
    from lhotse.recipes import prepare_fisher_english

    root = miniature("fisher", tmp_path / "corpus")
    for ending in ("sph", "txt"):
        path = next(root.rglob(f"fe_03_00002.{ending}"))
        path.rename(path.with_stem("fe_03_11487"))
    calls = next(root.rglob("fe_03_p2_calldata.tbl"))
    calls.write_text(calls.read_text().replace("00002,", "11487,"))
    audio = next(root.rglob("fe_03_11487.sph"))
    samples, fs = soundfile.read(audio, dtype="int16")
    long = np.resize(samples, (240 * fs, 2))
    mini.write(audio, long, fs, format="NIST", subtype="ULAW")
    text = next(root.rglob("fe_03_11487.txt"))
    lines = "31.09 234.06 A: a mistake\n200.5 999.25 B: to the end\n"
    text.write_text(text.read_text() + lines)
    prepare("fisher", root, tmp_path / "data", "fisher")
    written = DataDir.load(tmp_path / "data" / "fisher")
    ours = {(s.recording, s.channel, s.start, s.end) for s in written.segments.values()}
    with audio_backend("LibsndfileBackend"):
        theirs = prepare_fisher_english(root, tmp_path / "lhotse", absolute_paths=True)
    assert ("fe_03_11487", 0, 231.09, 234.06) in ours
    assert ours == {
        (s.recording_id, s.channel, s.start, s.end)
        for s in theirs["supervisions"]
        if "((" not in s.text
    }


def test_transcripts_of_wsj_that_are_not_needed(tmp_path):
    """Other speakers' .dot files are not read; odd bytes of a needed one are."""
    root = miniature("wsj", tmp_path / "corpus")
    (root / "11-1.1" / "other").mkdir()
    (root / "11-1.1" / "other" / "555c0200.dot").write_bytes(b"odd\n\xff\xfe\n")
    needed = next(root.rglob("442c0200.dot"))
    needed.write_bytes(needed.read_bytes() + b"A caf\xe9 (442c0299)\n")
    prepare("wsj", root, tmp_path / "data", "wsj_eval92")
    assert len(DataDir.load(tmp_path / "data" / "wsj_eval92").utts) == 3


def test_recordings_of_wsj_that_are_not_there(tmp_path, capsys):
    root = miniature("wsj", tmp_path / "corpus")
    next(root.rglob("442c0201.wv1")).unlink()
    prepare("wsj", root, tmp_path / "data", "wsj_eval92", allow_missing="true")
    assert "1 of 3 recordings of wsj_eval92 have no" in capsys.readouterr().err


def test_comments_and_blank_lines_of_an_stm_file(tmp_path):
    root = miniature("tedlium", tmp_path / "corpus")
    stm = next(root.rglob("dev/stm/SpeakerDev0_2010.stm"))
    stm.write_text(';; LABEL "o" "Overall" "Overall results"\n\n' + stm.read_text())
    prepare("tedlium", root, tmp_path / "data", "tedlium_dev")
    assert len(DataDir.load(tmp_path / "data" / "tedlium_dev").utts) == 9


def test_a_test_utterance_without_a_word_is_kept(tmp_path, capsys):
    root = miniature("tedlium", tmp_path / "corpus")
    for part in ("dev", "train"):
        (stm,) = root.rglob(f"{part}/stm/Speaker{part.title()}0_2010.stm")
        *lines, last = stm.read_text().splitlines()
        stm.write_text("\n".join((*lines, " ".join(last.split()[:6]) + " <unk>\n")))
    prepare("tedlium", root, tmp_path / "data", "tedlium_dev", "tedlium_train")
    assert "tedlium_train: 1 utterances left out, without" in capsys.readouterr().err
    dev = read_scp(tmp_path / "data" / "tedlium_dev" / "text")
    assert len(dev) == 9 and "<unk>" in dev.values()
    assert len(read_scp(tmp_path / "data" / "tedlium_train" / "text")) == 8


def test_voice_activity_that_ends_before_it_begins(tmp_path, capsys):
    root = mini.librilight(tmp_path / "books", {"small": mini.prompts()[:8]})
    prepare("librilight", root, tmp_path / "good", "librilight_600")
    assert "voice activity" not in capsys.readouterr().err
    for about in root.rglob("*.json"):
        told = json.loads(about.read_text())
        times = told["voice_activity"]
        told["voice_activity"] = [*times, [2, 1], [3, 3], [4, float("inf")]]
        about.write_text(json.dumps(told))
    prepare("librilight", root, tmp_path / "data", "librilight_600")
    said = capsys.readouterr().err
    assert said.count("2 recordings have stretches of voice activity that end") == 1
    for name in ("segments", "wav.scp"):
        good = (tmp_path / "good" / "librilight_600" / name).read_text()
        assert (tmp_path / "data" / "librilight_600" / name).read_text() == good


# ------------------------------------------------------------------ other folders
def test_the_folder_of_fisher_that_ldcs_archive_has(tmp_path):
    root = miniature("fisher", tmp_path / "corpus")
    prepare("fisher", root, tmp_path / "flat", "fisher")
    for part, year in ((1, 2004), (2, 2005)):
        home = root / f"LDC{year}T19"
        inner = home / f"fe_03_p{part}_tran"
        inner.mkdir()
        for name in ("data", "doc"):
            (home / name).rename(inner / name)
    prepare("fisher", root, tmp_path / "data", "fisher")
    flat = tmp_path / "flat" / "fisher"
    assert meetings.same_files(tmp_path / "data" / "fisher", flat)


@pytest.mark.parametrize(
    ("corpus", "sets"),
    [("switchboard", ["switchboard"]), ("wsj", ["wsj_si284", "wsj_eval92"])],
)
def test_discs_that_are_linked(tmp_path, corpus, sets):
    root = miniature(corpus, tmp_path / "corpus")
    prepare(corpus, root, tmp_path / "data", *sets)
    links = tmp_path / "links"
    links.mkdir()
    for disc in root.iterdir():
        (links / disc.name).symlink_to(disc, target_is_directory=True)
    (next(root.iterdir()) / "up").symlink_to(links, target_is_directory=True)
    (links / "lost").symlink_to(tmp_path / "nowhere")
    prepare(corpus, links, tmp_path / "linked", *sets)
    for name in sets:
        for table in ("text", "segments"):
            written = (tmp_path / "linked" / name / table).read_text()
            assert written == (tmp_path / "data" / name / table).read_text()


def test_a_part_of_librilight_instead_of_all(tmp_path, capsys):
    root = mini.librilight(tmp_path / "books", {"small": mini.prompts()[:4]})
    said = refused(
        capsys, "librilight", root / "small", tmp_path / "data", "librilight_600"
    )
    assert f"{root / 'small'}: has <speaker>/<book>/*.flac itself" in said
    assert f"to the folder above it, {root}" in said


def test_speakers_whose_books_would_be_out_of_order(tmp_path, capsys):
    """99's "99-book..." comes after "99-1-...", which another speaker is called."""
    root = mini.librilight(tmp_path / "books", {"small": mini.prompts()[:8]})
    shutil.copytree(root / "small" / "99", root / "small" / "99-1")
    said = refused(capsys, "librilight", root, tmp_path / "data", "librilight_600")
    assert "99-1-book" in said and "would follow 99-book" in said
    assert "rename its speaker's folder" in said
    assert list((tmp_path / "data" / "librilight_600").iterdir()) == []


@pytest.mark.parametrize("words", ["<sil> so", "so (Speaker-0001)", "so"])
def test_the_first_release_of_tedlium(tmp_path, capsys, words):
    """By its words; where none gives it away, by its name."""
    name = "ted" if words != "so" else "TEDLIUM_release1"
    root = mini.tedlium(tmp_path / name, {"dev": mini.prompts()[:4]}, False)
    stm = root / "dev" / "stm" / "SpeakerDev0_2010.stm"
    *lines, last = stm.read_text().splitlines()
    stm.write_text("\n".join((*lines, " ".join((*last.split()[:6], words)))))
    for folder in (root, tmp_path):
        if folder == root or name != "ted":
            said = refused(capsys, "tedlium", folder, tmp_path / "data", "tedlium_dev")
            assert "TED-LIUM release 1" in said and "openslr.org/51" in said
    if name != "ted":  # another release beside it
        mini.tedlium(tmp_path / "TEDLIUM_release2", {"dev": mini.prompts()[:4]}, False)
        prepare("tedlium", tmp_path, tmp_path / "data", "tedlium_dev")
