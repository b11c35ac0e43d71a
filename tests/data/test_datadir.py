"""Data directories: what is read, and what every mistake in one is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import ok, run

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.datadir import DataDir, write_data_dir
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.unit

GOOD = {
    "wav.scp": "a-1 a1.wav\na-2 a2.wav\nb-1 b1.wav\n",
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
    "text": "a-1 HELLO THERE\na-2 NO\nb-1 YES\n",
}
SEGMENTS = {
    "wav.scp": "rec rec.wav\n",
    "segments": "a-1 rec 0.0 1.5\na-2 rec 1.5 2.25\nb-1 rec 3 4\n",
}


def make(folder: Path, **changes: str | bytes | None) -> Path:
    """Write GOOD with changes (file name with _ for ., None: without the file)."""
    files = {**GOOD, **{k.replace("_scp", ".scp"): v for k, v in changes.items()}}
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
    return folder


def test_reads_a_good_directory(tmp_path):
    data = DataDir.load(make(tmp_path), need=("text",))
    assert data.utts == ["a-1", "a-2", "b-1"]
    assert data.tables["text"]["a-1"] == "HELLO THERE"
    assert data.segments is None


def test_reads_windows_line_ends(tmp_path):
    text = GOOD["text"].replace("\n", "\r\n")
    data = DataDir.load(make(tmp_path, text=text), need=("text",))
    assert data.tables["text"]["a-1"] == "HELLO THERE"


def test_reads_segments(tmp_path):
    data = DataDir.load(make(tmp_path, **SEGMENTS))
    assert data.utts == ["a-1", "a-2", "b-1"]
    assert data.segments["a-2"] == ("rec", 1.5, 2.25, None)


BAD = {
    "no wav.scp": (dict(wav_scp=None), ["wav.scp", "missing"]),
    "no text": (dict(text=None), ["text", "missing"]),
    "no utt2spk": (dict(utt2spk=None), ["utt2spk", "missing"]),
    "empty wav.scp": (dict(wav_scp=""), ["wav.scp", "empty"]),
    "empty text": (dict(text=""), ["text", "empty"]),
    "empty utt2spk": (dict(utt2spk=""), ["utt2spk", "empty"]),
    "unsorted": (
        dict(wav_scp="a-2 x\na-1 x\nb-1 x\n"),
        ["wav.scp:2", "'a-1'", "LC_ALL=C sort"],
    ),
    "sorted, but not bytewise": (dict(utt2spk="b-1 b\nB-1 b\n"), ["utt2spk:2", "B-1"]),
    "duplicate": (dict(text="a-1 X\na-1 Y\n"), ["text:2", "'a-1'", "twice"]),
    "fewer keys": (
        dict(text="a-1 X\n"),
        ["text: 2 of 3 utterances of", "wav.scp are missing: a-2, b-1"],
    ),
    "more keys": (
        dict(text=GOOD["text"] + "c-1 X\n"),
        ["wav.scp: 1 of 4 utterances of", "text are missing: c-1"],
    ),
    "other utt2 table": (
        dict(utt2lang="a-1 en\n"),
        ["utt2lang: 2 of 3 utterances", "a-2"],
    ),
    "empty transcript": (
        dict(text="a-1 HELLO\na-2 \nb-1 X\n"),
        ["text:2", "'a-2'", "empty transcript"],
    ),
    "slash in key": (dict(wav_scp="a/1 x\n"), ["wav.scp:1", "'a/1'", "'/'"]),
    "odd space in key": (
        dict(wav_scp="a\u00a01 x\n"),
        ["wav.scp:1", "white space"],
    ),
    "byte order mark": (dict(text="\ufeffa-1 X\n"), ["text:1", "control character"]),
    "leading blank": (dict(text=" a-1 X\n"), ["text:1", "blank"]),
    "empty line": (dict(text="a-1 X\n\na-2 Y\n"), ["text:2", "empty line"]),
    "not UTF-8": (dict(text=b"a-1 X\na-2 caf\xe9\n"), ["text:2", "UTF-8", "iconv"]),
    "old line ends": (dict(text="a-1 X\ra-2 Y\rb-1 Z\r"), ["text:1", "carriage"]),
    "pipe": (
        dict(wav_scp="a-1 sox x.flac -t wav - |\na-2 x\nb-1 x\n"),
        ["wav.scp", "a-1", "pipe", "--allow_pipes"],
    ),
    "segment of nothing": (
        dict(SEGMENTS, segments="a-1 tape 0 1\na-2 rec 1 2\nb-1 rec 2 3\n"),
        ["segments", "a-1", "'tape'", "wav.scp"],
    ),
    "segment backwards": (
        dict(SEGMENTS, segments="a-1 rec 2 1\n"),
        ["segments", "a-1", "start 2.0", "end 1.0"],
    ),
    "segment without end": (dict(SEGMENTS, segments="a-1 rec 2\n"), ["a-1", "<end>"]),
    "segment NaN": (dict(SEGMENTS, segments="a-1 rec nan 1\n"), ["a-1", "start nan"]),
}


@pytest.mark.parametrize("name", BAD)
def test_names_the_mistake(tmp_path, name):
    changes, expected = BAD[name]
    with pytest.raises(DataError) as caught:
        DataDir.load(make(tmp_path, **changes), need=("text", "utt2spk"))
    assert str(tmp_path) in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_writes_sorted_bytewise_and_reads_back(tmp_path):
    table = {"é": "3", "b": "2", "B": "1", "a b".replace(" ", "-"): "x y"}
    write_table(tmp_path / "t", table)
    assert read_scp(tmp_path / "t") == table
    assert list(read_scp(tmp_path / "t")) == ["B", "a-b", "b", "é"]
    assert [p.name for p in tmp_path.iterdir()] == ["t"]  # no temporary file


def test_writing_removes_tables_of_an_earlier_run(tmp_path):
    source = DataDir.load(make(tmp_path / "a"))
    write_data_dir(tmp_path / "b", source.wav_scp, source.tables)
    assert (tmp_path / "b" / "spk2utt").read_text() == "a a-1 a-2\nb b-1\n"
    kept = {"utt2spk": source.tables["utt2spk"]}
    write_data_dir(tmp_path / "b", source.wav_scp, kept)
    assert not (tmp_path / "b" / "text").exists()


def test_program_reports_every_directory(tmp_path):
    (tmp_path / "a1.wav").write_bytes(b"x")
    (tmp_path / "empty.wav").write_bytes(b"")
    one = f"a-1 {tmp_path}/a1.wav\n"
    good = make(tmp_path / "good", wav_scp=one, utt2spk="a-1 a\n", text="a-1 X\n")
    bad = make(
        tmp_path / "bad",
        wav_scp=f"a-1 {tmp_path}/empty.wav\n",
        utt2spk="a-1 a\n",
        text=None,
    )
    gone = make(tmp_path / "gone")
    ok("data check_data_dir", "--need", "text", good)
    result = run("data check_data_dir", good, bad, gone, tmp_path / "none")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    _, *messages = result.stderr.split("ERROR: ")
    assert len(messages) == 3
    assert "empty.wav: the file has no bytes" in messages[0]
    for part in ("3 problem(s)", "a1.wav: no such file", f"{gone}/bad_audio.txt"):
        assert part in messages[1]  # all of its recordings, at once
    assert len((gone / "bad_audio.txt").read_text().splitlines()) == 3
    assert "none: no such data directory" in messages[2]
