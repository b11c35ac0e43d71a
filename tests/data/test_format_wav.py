"""format_wav (stage 3): what it makes, what it refuses, and how it resumes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.commands import command, environment, make_dir, ok, refused
from helpers.commands import run as run_command

from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.espnet

FS = 16000


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative name."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_segments_are_cut_to_the_sample(tmp_path, short_utterances):
    path = short_utterances[-1][1]
    complete, _ = soundfile.read(path, dtype="int16")
    cuts = {"a-1": (0.0, 0.5), "a-2": (0.29, 1.1), "a-3": (1.23456, 2.00003)}
    folder = tmp_path / "data"
    make_dir(folder, {"rec": path})
    (folder / "utt2spk").write_text("".join(f"{u} a\n" for u in cuts))
    lines = [f"{u} rec {start} {end}\n" for u, (start, end) in cuts.items()]
    (folder / "segments").write_text("".join(lines))
    ok("data format_wav", "data", "dump", cwd=tmp_path)
    scp = read_scp(tmp_path / "dump" / "wav.scp")
    assert scp["a-1"] == "dump/data/a-1.flac"
    for utt, (start, end) in cuts.items():
        cut, fs = soundfile.read(tmp_path / scp[utt], dtype="int16")
        assert fs == FS
        np.testing.assert_array_equal(
            cut, complete[round(start * FS) : round(end * FS)]
        )
        assert read_scp(tmp_path / "dump/utt2num_samples")[utt] == str(len(cut))
    assert not (tmp_path / "dump" / "segments").exists()


def test_a_channel_is_named_in_segments(tmp_path, short_utterances):
    """Kaldi's fifth column; a file with several channels is refused without it."""
    left, right = (soundfile.read(short_utterances[i][1])[0][:FS] for i in (-1, -2))
    both = tmp_path / "both.flac"
    soundfile.write(both, np.stack([left, right], axis=1), FS)
    folder = tmp_path / "data"
    make_dir(folder, {"rec": both})
    (folder / "utt2spk").write_text("a-0 a\na-1 a\n")
    (folder / "segments").write_text("a-0 rec 0 1 0\na-1 rec 0 1 1\n")
    ok("data format_wav", "data", "dump", cwd=tmp_path)
    for utt, channel in (("a-0", left), ("a-1", right)):
        cut, _ = soundfile.read(tmp_path / "dump" / "data" / f"{utt}.flac")
        np.testing.assert_array_equal(cut, channel)
    for line, said in (
        ("a-0 rec 0 1 0\na-1 rec 0 1 2\n", "has no channel 2"),
        ("a-0 rec 0 1 0\na-1 rec 0 1\n", "has 2 channels"),
        ("a-0 rec 0 1 0\na-1 rec 0 1 -1\n", "a channel from 0"),
    ):
        (folder / "segments").write_text(line)
        assert said in refused("data format_wav", "data", "dump", cwd=tmp_path)


def test_formats_agree_and_espnet_reads_them(tmp_path, speech_dir):
    from espnet2.train.dataset import ESPnetDataset

    read = {}
    for fmt in ("flac", "wav", "flac.ark", "wav.ark"):
        out = f"dump/{fmt}"
        ok("data format_wav", "--audio_format", fmt, speech_dir, out, cwd=tmp_path)
        kind = "kaldi_ark" if fmt.endswith("ark") else "sound"
        scp = tmp_path / out / "wav.scp"
        scp.write_text(scp.read_text().replace(" dump", f" {tmp_path}/dump"))
        dataset = ESPnetDataset([(str(scp), "speech", kind)])
        read[fmt] = {utt: dataset[utt][1]["speech"] for utt in read_scp(scp)}
        assert (tmp_path / out / "audio_format").read_text() == f"{fmt}\n"
    for utt, path in read_scp(speech_dir / "wav.scp").items():
        expected, _ = soundfile.read(path, dtype="float32")
        for fmt, speech in read.items():
            np.testing.assert_array_equal(speech[utt], expected, err_msg=fmt)


def test_resamples(tmp_path, short_utterances):
    utt, path, _ = short_utterances[0]
    speech, _ = soundfile.read(path)
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "tone.wav", tone, 48000, "FLOAT")
    make_dir(tmp_path / "data", {"a-tone": Path("tone.wav"), "b-" + utt: path})
    ok("data format_wav", "--fs", 8000, "data", "dump", cwd=tmp_path)
    out, fs = soundfile.read(tmp_path / "dump/data/a-tone.flac")
    assert (fs, len(out)) == (8000, 8000)
    expected = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    assert np.abs(out - expected)[200:-200].max() < 1e-3
    out, _ = soundfile.read(tmp_path / f"dump/data/b-{utt}.flac")
    assert abs(len(out) - len(speech) / 2) <= 1


def truncate(path: Path, target: Path, share: float) -> None:
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


def test_bad_audio_is_named(tmp_path, short_utterances):
    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    bad = tmp_path / "bad"
    bad.mkdir()
    soundfile.write(bad / "stereo.wav", np.stack([speech, speech], 1), FS)
    soundfile.write(bad / "zero.wav", speech[:0], FS)
    soundfile.write(bad / "good.wav", speech, FS)
    (bad / "empty.wav").write_bytes(b"")
    (bad / "text.wav").write_text("this is no audio")
    truncate(bad / "good.wav", bad / "cut.wav", 0.5)
    names = ["cut", "empty", "missing", "stereo", "text", "zero"]
    audio = {f"a-{n}": bad / f"{n}.wav" for n in [*names, "good"]}
    make_dir(tmp_path / "data", audio)
    message = refused("data format_wav", "data", "dump", cwd=tmp_path)
    assert message.startswith("6 problem(s)")
    for name, reason in {
        "cut": "truncated",
        "empty": "no bytes",
        "missing": "No such file",
        "stereo": "2 channels",
        "text": "cannot be read as audio",
        "zero": "zero-length",
    }.items():
        line = next(x for x in message.splitlines() if f"/{name}.wav" in x)
        assert reason in line
    assert not (tmp_path / "dump" / "data").exists()  # refused before it began


def test_damage_inside_is_named_with_its_utterance(tmp_path, short_utterances):
    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    nan = speech.copy()
    nan[1000] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, FS, "FLOAT")
    soundfile.write(tmp_path / "loud.wav", speech * 32768, FS, "FLOAT")
    truncate(short_utterances[0][1], tmp_path / "cut.flac", 0.6)
    shutil.copy(short_utterances[0][1], tmp_path / "good.flac")
    names = ["cut.flac", "loud.wav", "nan.wav", "good.flac"]
    audio = {f"a-{name.partition('.')[0]}": Path(name) for name in names}
    make_dir(tmp_path / "data", audio)
    message = refused("data format_wav", "data", "dump", cwd=tmp_path)
    assert "a-nan: nan.wav: 1 samples are NaN" in message
    assert "a-cut: cut.flac: truncated or damaged" in message
    assert "a-loud: loud.wav: float samples reach" in message
    assert len((tmp_path / "dump" / "bad_audio.txt").read_text().splitlines()) == 3
    assert not (tmp_path / "dump" / "wav.scp").exists()
    # Fixed, the same command resumes.
    for name in ("nan.wav", "loud.wav"):
        soundfile.write(tmp_path / name, speech, FS)
    shutil.copy(tmp_path / "good.flac", tmp_path / "cut.flac")
    out = ok("data format_wav", "data", "dump", cwd=tmp_path)
    assert "4 utterances, 3 of them written now" in out
    assert not (tmp_path / "dump" / "bad_audio.txt").exists()


@pytest.mark.parametrize("fmt", ["flac", "wav.ark"])
def test_bad_audio_is_left_out_where_that_is_asked_for(tmp_path, short_utterances, fmt):
    paths = [path for _, path, _ in short_utterances[:6]]
    truncate(paths[0], tmp_path / "cut.flac", 0.6)
    (tmp_path / "empty.wav").write_bytes(b"")
    audio = {f"a-{number}": path for number, path in enumerate(paths)}
    bad = {f"b-{n}": tmp_path / n for n in ("cut.flac", "empty.wav", "missing.wav")}
    every = {**audio, **bad}
    make_dir(tmp_path / "data", every, text=dict.fromkeys(every, "WORDS"))
    skip = ("--skip_bad_audio", "true")
    # one look finds all that is missing
    message = refused("data check_data_dir", "data", cwd=tmp_path)
    assert "b-empty.wav: " in message and "b-missing.wav: " in message
    ok("data check_data_dir", *skip, "data", cwd=tmp_path)
    command = ("data format_wav", "--audio_format", fmt)
    message = refused(*command, "data", "dump", cwd=tmp_path)
    assert message.startswith("2 problem(s)") and "--skip_bad_audio true" in message
    for _ in range(2):
        out = ok(*command, *skip, "data", "dump", cwd=tmp_path)
        assert "dump: 6 utterances" in out
        dump = tmp_path / "dump"
        for name in ("wav.scp", "text", "utt2spk", "utt2num_samples"):
            assert list(read_scp(dump / name)) == sorted(audio)
        listed = (dump / "bad_audio.txt").read_text().splitlines()
        assert sorted(line.split(":")[0] for line in listed) == sorted(bad)
    make_dir(tmp_path / "none", bad)
    message = refused(*command, *skip, "none", "dump_none", cwd=tmp_path)
    assert "no utterance is left" in message
    # replaced, they are there again
    for path in bad.values():
        path.write_bytes(paths[0].read_bytes())
    out = ok(*command, "data", "dump", cwd=tmp_path)
    assert "dump: 9 utterances" in out


def test_loud_audio_is_scaled_and_named(tmp_path, short_utterances):
    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    for peak in (0.9, 1.5, 4.0):
        scaled = speech / np.abs(speech).max() * peak
        soundfile.write(tmp_path / f"{peak}.wav", scaled, FS, "FLOAT")
    audio = {f"a-{peak}": Path(f"{peak}.wav") for peak in (0.9, 1.5, 4.0)}
    make_dir(tmp_path / "data", audio)
    done = run_command("data format_wav", "data", "dump", cwd=tmp_path)
    assert "2 utterances were louder" in done.stderr and "a-4.0 by 4" in done.stderr
    for utt in audio:
        got, _ = soundfile.read(tmp_path / f"dump/data/{utt}.flac")
        assert np.corrcoef(got, speech)[0, 1] > 0.9999
        assert np.mean(np.abs(got) > 0.999) < 1e-3


def test_segment_outside_its_recording(tmp_path, short_utterances):
    make_dir(tmp_path / "data", {"rec": short_utterances[0][1]})
    (tmp_path / "data" / "utt2spk").write_text("a-1 a\n")
    (tmp_path / "data" / "segments").write_text("a-1 rec 0.5 999\n")
    message = refused("data format_wav", "data", "dump", cwd=tmp_path)
    assert "a-1: the segment 0.5-999 s is outside" in message


def test_full_disk_is_foreseen(tmp_path):
    """A sparse recording of 300 hours at 1 MHz needs more than any test disk has."""
    header = bytearray(b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0")
    frames = 4 * shutil.disk_usage(tmp_path).total
    for size in (2 * frames + 72, 2 * frames, frames):
        header += size.to_bytes(8, "little")
    header += (0).to_bytes(4, "little") + b"fmt \x10\0\0\0\1\0\1\0"
    header += (FS).to_bytes(4, "little") + (2 * FS).to_bytes(4, "little")
    header += b"\2\0\x10\0data\xff\xff\xff\xff"
    with (tmp_path / "huge.wav").open("wb") as stream:
        stream.write(header)
        try:
            stream.truncate(len(header) + 2 * frames)
        except OSError:
            pytest.skip("no sparse files of this size here")
    make_dir(tmp_path / "data", {"a-1": Path("huge.wav")})
    message = refused("data format_wav", "data", "dump", cwd=tmp_path)
    assert "GB are free" in message
    assert not (tmp_path / "dump" / "data").exists()


def kill_in_between(formatting: list[str], journal: Path) -> int:
    """Kill formatting when some of its 240 utterances are done; returns how many.

    It takes less than a second: where the machine is busy it may be over before it is
    looked at, and then it begins from scratch.
    """
    for _ in range(10):
        process = subprocess.Popen(
            formatting,
            cwd=journal.parent.parent,
            env=environment(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= 50:
                break
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        if 50 <= done < 240 and not (journal.parent / "wav.scp").exists():
            return done
        shutil.rmtree(journal.parent, ignore_errors=True)
    pytest.fail(
        f"10 times over, or ended by itself, before the interruption: {formatting}"
    )


@pytest.mark.parametrize("fmt", ["flac", "flac.ark"])
def test_resumes_after_a_kill(tmp_path, short_utterances, fmt):
    some = short_utterances[:40]
    audio = {f"{utt}-{i}": path for utt, path, _ in some for i in range(2)}
    make_dir(tmp_path / "data", audio)
    ok("data perturb_speed", "data", "sp", cwd=tmp_path)
    options = ("--audio_format", fmt, "--nj", 2, "sp")
    ok("data format_wav", *options, "clean/dump", cwd=tmp_path)

    journal = tmp_path / "dump" / ".formatted"
    done = kill_in_between(command("data format_wav", *options, "dump"), journal)
    assert not (tmp_path / "dump" / "wav.scp").exists()
    for path in (tmp_path / "dump" / "data").glob("[!.]*.flac"):
        soundfile.read(path)  # complete
    with journal.open("a") as stream:
        stream.write("half-a-line of")  # as an interruption may leave it

    out = ok("data format_wav", *options, "dump", cwd=tmp_path)
    assert f"240 utterances, {240 - done} of them written now" in out
    resumed, clean = content(tmp_path / "dump"), content(tmp_path / "clean" / "dump")
    clean["wav.scp"] = clean["wav.scp"].replace(b" clean/", b" ")
    assert resumed.keys() == clean.keys()
    assert resumed == clean
    out = ok("data format_wav", *options, "dump", cwd=tmp_path)
    assert "0 of them written now" in out
    assert content(tmp_path / "dump") == clean


@pytest.mark.parametrize("fmt", ["flac", "flac.ark"])
def test_changed_input_is_made_again(tmp_path, speech_dir, fmt):
    options = ("--audio_format", fmt)
    ok("data format_wav", *options, speech_dir, "dump", cwd=tmp_path)
    scp = read_scp(speech_dir / "wav.scp")
    text = read_scp(speech_dir / "text")
    utts = list(scp)
    changed = {utt: scp[utt] for utt in utts[:-5]}
    changed[utts[0]] = scp[utts[-1]]  # other audio for the same utterance
    kept_text = {utt: text[utt] for utt in changed}
    shutil.rmtree(speech_dir)
    make_dir(speech_dir, changed, text=kept_text)
    out = ok("data format_wav", *options, speech_dir, "dump", cwd=tmp_path)
    assert f"35 utterances, {1 if fmt == 'flac' else 35} of them written now" in out
    ok("data format_wav", *options, speech_dir, "clean/dump", cwd=tmp_path)
    clean = content(tmp_path / "clean" / "dump")
    clean["wav.scp"] = clean["wav.scp"].replace(b" clean/", b" ")
    assert content(tmp_path / "dump") == clean
    # Another format replaces the files.
    ok("data format_wav", "--audio_format", "wav", speech_dir, "dump", cwd=tmp_path)
    assert {p.suffix for p in (tmp_path / "dump/data").iterdir()} == {".wav"}
