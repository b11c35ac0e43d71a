"""The data stages' programs: speeds, formatting, filtering, token lists."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_a2m.datadir import read_scp, write_data_dir

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / "local"
FS = 16000


def command(program: str, *arguments: object) -> list[str]:
    return [sys.executable, str(LOCAL / program), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(program: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(program, *arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
    )


def ok(program: str, *arguments: object, cwd: Path) -> str:
    result = run(program, *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(program: str, *arguments: object, cwd: Path) -> str:
    """Run what must fail; returns its message."""
    result = run(program, *arguments, cwd=cwd)
    assert result.returncode == 1
    assert "ERROR: " in result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.partition("ERROR: ")[2]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative name."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def make_dir(folder: Path, audio: dict[str, Path], **tables: dict[str, str]) -> Path:
    speakers = {utt: utt.partition("-")[0] for utt in audio}
    write_data_dir(folder, audio, {"utt2spk": speakers, **tables})
    return folder


@pytest.fixture
def speech_dir(tmp_path, short_utterances) -> Path:
    """A data directory of 40 real utterances with transcripts."""
    some = short_utterances[:40]
    return make_dir(
        tmp_path / "data" / "train",
        {utt: path for utt, path, _ in some},
        text={utt: text for utt, _, text in some},
    )


# ------------------------------------------------------------------ perturb_speed.py
def test_speeds_are_applied(tmp_path, speech_dir):
    ok("perturb_speed.py", "--factors", "0.9 1.0 1.1", speech_dir, "sp", cwd=tmp_path)
    spk = read_scp(tmp_path / "sp" / "utt2spk")
    assert len(spk) == 120
    utt = next(iter(read_scp(speech_dir / "wav.scp")))
    assert spk[f"sp0.9-{utt}"] == "sp0.9-" + spk[utt]
    text = read_scp(tmp_path / "sp" / "text")
    assert text[f"sp1.1-{utt}"] == text[utt]
    ok("format_wav.py", "--nj", 2, "sp", "dump/sp", cwd=tmp_path)
    lengths = read_scp(tmp_path / "dump/sp/utt2num_samples")
    original = soundfile.info(read_scp(speech_dir / "wav.scp")[utt]).frames
    assert int(lengths[utt]) == original
    assert abs(int(lengths[f"sp0.9-{utt}"]) - original / 0.9) <= 1
    assert abs(int(lengths[f"sp1.1-{utt}"]) - original / 1.1) <= 1
    message = refused("perturb_speed.py", "sp", "sp2", cwd=tmp_path)
    assert "speed-perturbed" in message


@pytest.mark.parametrize("factors", ["fast", "0.9 0.90", "7", ""])
def test_bad_speeds(tmp_path, speech_dir, factors):
    arguments = ("--factors", factors, speech_dir, "sp")
    assert "speed factor" in refused("perturb_speed.py", *arguments, cwd=tmp_path)


# --------------------------------------------------------------------- format_wav.py
def test_segments_are_cut_to_the_sample(tmp_path, short_utterances):
    path = short_utterances[-1][1]
    whole, _ = soundfile.read(path, dtype="int16")
    cuts = {"a-1": (0.0, 0.5), "a-2": (0.29, 1.1), "a-3": (1.23456, 2.00003)}
    folder = tmp_path / "data"
    make_dir(folder, {"rec": path})
    (folder / "utt2spk").write_text("".join(f"{u} a\n" for u in cuts))
    (folder / "spk2utt").unlink()
    lines = [f"{u} rec {start} {end}\n" for u, (start, end) in cuts.items()]
    (folder / "segments").write_text("".join(lines))
    ok("format_wav.py", "data", "dump", cwd=tmp_path)
    scp = read_scp(tmp_path / "dump" / "wav.scp")
    assert scp["a-1"] == "dump/data/a-1.flac"
    for utt, (start, end) in cuts.items():
        cut, fs = soundfile.read(tmp_path / scp[utt], dtype="int16")
        assert fs == FS
        np.testing.assert_array_equal(cut, whole[round(start * FS) : round(end * FS)])
        assert read_scp(tmp_path / "dump/utt2num_samples")[utt] == str(len(cut))
    assert not (tmp_path / "dump" / "segments").exists()


def test_a_channel_is_named_in_segments(tmp_path, short_utterances):
    """Kaldi's fifth column; a file with several channels is refused without it."""
    left, right = (soundfile.read(short_utterances[i][1])[0][:FS] for i in (-1, -2))
    both = tmp_path / "both.flac"
    soundfile.write(both, np.stack([left, right], axis=1), FS)
    folder = tmp_path / "data"
    make_dir(folder, {"rec": both})
    (folder / "spk2utt").unlink()
    (folder / "utt2spk").write_text("a-0 a\na-1 a\n")
    (folder / "segments").write_text("a-0 rec 0 1 0\na-1 rec 0 1 1\n")
    ok("format_wav.py", "data", "dump", cwd=tmp_path)
    for utt, channel in (("a-0", left), ("a-1", right)):
        cut, _ = soundfile.read(tmp_path / "dump" / "data" / f"{utt}.flac")
        np.testing.assert_array_equal(cut, channel)
    for line, said in (
        ("a-0 rec 0 1 0\na-1 rec 0 1 2\n", "has no channel 2"),
        ("a-0 rec 0 1 0\na-1 rec 0 1\n", "has 2 channels"),
        ("a-0 rec 0 1 0\na-1 rec 0 1 -1\n", "a channel from 0"),
    ):
        (folder / "segments").write_text(line)
        assert said in refused("format_wav.py", "data", "dump", cwd=tmp_path)


def test_formats_agree_and_espnet_reads_them(tmp_path, speech_dir):
    from espnet2.train.dataset import ESPnetDataset

    read = {}
    for fmt in ("flac", "wav", "flac.ark", "wav.ark"):
        out = f"dump/{fmt}"
        ok("format_wav.py", "--audio_format", fmt, speech_dir, out, cwd=tmp_path)
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
    ok("format_wav.py", "--fs", 8000, "data", "dump", cwd=tmp_path)
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
    message = refused("format_wav.py", "data", "dump", cwd=tmp_path)
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
    message = refused("format_wav.py", "data", "dump", cwd=tmp_path)
    assert "a-nan: nan.wav: 1 samples are NaN" in message
    assert "a-cut: cut.flac: truncated or damaged" in message
    assert "a-loud: loud.wav: float samples reach" in message
    assert len((tmp_path / "dump" / "bad_audio.txt").read_text().splitlines()) == 3
    assert not (tmp_path / "dump" / "wav.scp").exists()
    # Mended, the same command goes on.
    for name in ("nan.wav", "loud.wav"):
        soundfile.write(tmp_path / name, speech, FS)
    shutil.copy(tmp_path / "good.flac", tmp_path / "cut.flac")
    out = ok("format_wav.py", "data", "dump", cwd=tmp_path)
    assert "4 utterances, 3 of them made now" in out
    assert not (tmp_path / "dump" / "bad_audio.txt").exists()


def test_segment_outside_its_recording(tmp_path, short_utterances):
    make_dir(tmp_path / "data", {"rec": short_utterances[0][1]})
    (tmp_path / "data" / "utt2spk").write_text("a-1 a\n")
    (tmp_path / "data" / "spk2utt").unlink()
    (tmp_path / "data" / "segments").write_text("a-1 rec 0.5 999\n")
    message = refused("format_wav.py", "data", "dump", cwd=tmp_path)
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
    message = refused("format_wav.py", "data", "dump", cwd=tmp_path)
    assert "GB are free" in message
    assert not (tmp_path / "dump" / "data").exists()


@pytest.mark.parametrize("fmt", ["flac", "flac.ark"])
def test_resumes_after_a_kill(tmp_path, short_utterances, fmt):
    audio = {utt: path for utt, path, _ in short_utterances[:80]}
    make_dir(tmp_path / "data", audio)
    ok("perturb_speed.py", "data", "sp", cwd=tmp_path)
    options = ("--audio_format", fmt, "--nj", 2, "sp")
    ok("format_wav.py", *options, "clean/dump", cwd=tmp_path)

    process = subprocess.Popen(
        command("format_wav.py", *options, "dump"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    journal = tmp_path / "dump" / ".formatted"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 50:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "dump" / "wav.scp").exists()
    done = journal.read_bytes().count(b"\n")
    assert 50 <= done < 240
    for path in (tmp_path / "dump" / "data").glob("[!.]*.flac"):
        soundfile.read(path)  # whole
    with journal.open("a") as stream:
        stream.write("half-a-line of")  # as a kill may leave it

    out = ok("format_wav.py", *options, "dump", cwd=tmp_path)
    assert f"240 utterances, {240 - done} of them made now" in out
    resumed, clean = content(tmp_path / "dump"), content(tmp_path / "clean" / "dump")
    clean["wav.scp"] = clean["wav.scp"].replace(b" clean/", b" ")
    assert resumed.keys() == clean.keys()
    assert resumed == clean
    out = ok("format_wav.py", *options, "dump", cwd=tmp_path)
    assert "0 of them made now" in out
    assert content(tmp_path / "dump") == clean


@pytest.mark.parametrize("fmt", ["flac", "flac.ark"])
def test_changed_input_is_made_again(tmp_path, speech_dir, fmt):
    options = ("--audio_format", fmt)
    ok("format_wav.py", *options, speech_dir, "dump", cwd=tmp_path)
    scp = read_scp(speech_dir / "wav.scp")
    text = read_scp(speech_dir / "text")
    utts = list(scp)
    changed = {utt: scp[utt] for utt in utts[:-5]}
    changed[utts[0]] = scp[utts[-1]]  # other audio for the same utterance
    kept_text = {utt: text[utt] for utt in changed}
    shutil.rmtree(speech_dir)
    make_dir(speech_dir, changed, text=kept_text)
    out = ok("format_wav.py", *options, speech_dir, "dump", cwd=tmp_path)
    assert f"35 utterances, {1 if fmt == 'flac' else 35} of them made now" in out
    ok("format_wav.py", *options, speech_dir, "clean/dump", cwd=tmp_path)
    clean = content(tmp_path / "clean" / "dump")
    clean["wav.scp"] = clean["wav.scp"].replace(b" clean/", b" ")
    assert content(tmp_path / "dump") == clean
    # Another format replaces the files.
    ok("format_wav.py", "--audio_format", "wav", speech_dir, "dump", cwd=tmp_path)
    assert {p.suffix for p in (tmp_path / "dump/data").iterdir()} == {".wav"}


# ----------------------------------------------------------------- filter_lengths.py
def test_filters_by_length_and_text(tmp_path):
    samples = {"a-1": 1599, "a-2": 1600, "a-3": 320000, "a-4": 320001, "a-5": 9999}
    make_dir(
        tmp_path / "src",
        {utt: Path(f"{utt}.flac") for utt in samples},
        utt2num_samples={utt: str(n) for utt, n in samples.items()},
        text={"a-1": "X", "a-2": "X", "a-3": "X", "a-4": "X", "a-5": ""},
    )
    (tmp_path / "src" / "fs").write_text("16000\n")
    options = ("--min_wav_duration", 0.1, "--max_wav_duration", 20)
    out = ok("filter_lengths.py", *options, "src", "dst", cwd=tmp_path)
    assert list(read_scp(tmp_path / "dst" / "wav.scp")) == ["a-2", "a-3"]
    assert read_scp(tmp_path / "dst" / "text") == {"a-2": "X", "a-3": "X"}
    assert "kept 2 of 5" in out
    assert "dropped 1 (0.000 h): empty text" in out
    message = refused("filter_lengths.py", "--max_wav_duration", 0.05, "src", "none",
                      cwd=tmp_path)  # fmt: skip
    assert "none of 5 utterances is left" in message
    assert "8000" in refused("filter_lengths.py", "--fs", 8000, "src", "x",
                             cwd=tmp_path)  # fmt: skip


def test_unformatted_input_is_refused(tmp_path, speech_dir):
    message = refused("filter_lengths.py", speech_dir, "dst", cwd=tmp_path)
    assert "utt2num_samples missing" in message


# --------------------------------------------------------------------- token_list.py
def token_list(cwd: Path, text: Path, *options: object) -> list[str]:
    ok("token_list.py", *options, "--text", text, "--outdir", "tokens", cwd=cwd)
    return (cwd / "tokens" / "tokens.txt").read_text("utf-8").splitlines()


def test_characters_are_those_of_espnet(tmp_path, speech_dir):
    tokens = token_list(tmp_path, speech_dir / "text", "--token_type", "char")
    assert tokens[:2] == ["<blank>", "<unk>"]
    assert tokens[-1] == "<sos/eos>"
    from espnet2.bin.tokenize_text import main

    arguments = ["--token_type", "char", "--field", "2-", "--write_vocabulary", "true"]
    for symbol in ("<blank>:0", "<unk>:1", "<sos/eos>:-1"):
        arguments += ["--add_symbol", symbol]
    out = tmp_path / "espnet.txt"
    main([*arguments, "--input", str(speech_dir / "text"), "--output", str(out)])
    assert out.read_text("utf-8").splitlines() == tokens


def test_bpe_model_and_tokens_agree(tmp_path, speech_dir):
    from espnet2.text.sentencepiece_tokenizer import SentencepiecesTokenizer

    options = ("--token_type", "bpe", "--nbpe", 60)
    tokens = token_list(tmp_path, speech_dir / "text", *options)
    assert len(tokens) == 60  # <s> and </s> of sentencepiece, <blank> and <sos/eos>
    assert (tokens[0], tokens[1], tokens[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    tokenizer = SentencepiecesTokenizer(str(tmp_path / "tokens" / "bpe.model"))
    for text in read_scp(speech_dir / "text").values():
        pieces = tokenizer.text2tokens(text)
        assert set(pieces) <= set(tokens)
        assert tokenizer.tokens2text(pieces) == text


@pytest.mark.parametrize(
    ("nbpe", "said"), [(90000, "more than the text"), (5, "too small"), (0, "positive")]
)
def test_bpe_size_that_does_not_fit(tmp_path, speech_dir, nbpe, said):
    options = ("--token_type", "bpe", "--nbpe", nbpe, "--text", speech_dir / "text")
    message = refused("token_list.py", *options, "--outdir", "t", cwd=tmp_path)
    assert said in message
    assert not list((tmp_path / "t").glob("*"))
