"""Nothing that a data directory or an archive holds is run, unless it is asked for."""

from __future__ import annotations

import os
import pickle
import subprocess
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from helpers.commands import ROOT, ok, refused

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.archives import checked_entries, read_array
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.streams import check_streams
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet

RUN = "$(touch${IFS}pwned)"  # what would leave a trace; without a blank, to be a key
KEYS = [
    f"a'{RUN}",
    'b";touch${IFS}pwned;"',
    "-c`touch${IFS}pwned`",
    "..d&>pwned",
    "*e?",
]
NASTY = f"""it's $(touch pwned) "x" `touch pwned` ; {RUN} & *"""


@pytest.fixture(autouse=True)
def nothing_was_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("pwned")) + list(Path.home().glob("pwned"))


def make_dir(wav_scp: dict[str, object], text: str = "A") -> None:
    """``data/set``, by hand: the writer of the package is not trusted here."""
    Path("data/set").mkdir(parents=True, exist_ok=True)
    write_table("data/set/wav.scp", wav_scp)
    write_table("data/set/utt2spk", dict.fromkeys(wav_scp, f"s{RUN}"))
    write_table("data/set/text", dict.fromkeys(wav_scp, text))


@pytest.mark.parametrize("audio_format", ["flac", "wav.ark"])
def test_keys_paths_and_text_are_no_commands(short_utterances, audio_format):
    Path(NASTY).symlink_to(short_utterances[0][1])
    make_dir(dict.fromkeys(KEYS, NASTY), text=f"HE SAID $(touch pwned) {RUN}")
    ok("data check_data_dir", "--need", "text", "data/set")
    ok("data perturb_speed", "--factors", "1.0 1.1", "data/set", "sp")
    out = Path(f"dump {NASTY}")
    ok("data format_wav", "--nj", 2, "--audio_format", audio_format, "sp", out / "org")
    ok("data filter_lengths", out / "org", out / "set")
    ok(
        "data token_list",
        "--token_type",
        "char",
        "--text",
        out / "set/text",
        "--outdir",
        out,
    )
    formatted = read_scp(out / "set" / "wav.scp")
    assert set(KEYS) < set(formatted) and len(formatted) == 2 * len(KEYS)
    want, fs = soundfile.read(short_utterances[0][1], dtype="float32")
    for key in KEYS:
        np.testing.assert_array_equal(read_audio(key, formatted[key], fs), want)


def test_pipes_are_run_only_when_asked_for(short_utterances):
    one, two = (path for _, path, _ in short_utterances[:2])
    flag = Path("ran")
    make_dir({"a": f"touch ran; cat '{one}' |", "b": f"cat {two} | cat |"})
    for program, arguments in (
        ("data check_data_dir", ["data/set"]),
        ("data perturb_speed", ["data/set", "sp"]),
        ("data format_wav", ["data/set", "dump"]),
        ("data format_wav", ["--allow_pipes", "false", "data/set", "dump"]),
    ):
        assert "--allow_pipes true" in refused(program, *arguments)
    assert not flag.exists() and not Path("dump").exists()

    allowed = ("--allow_pipes", "true")
    ok("data check_data_dir", *allowed, "data/set")
    make_dir({"a": f"touch ran; cat '{one}' |", "b": f"cat {two} | cat |"})
    ok("data perturb_speed", *allowed, "--factors", "0.9 1.0", "data/set", "sp")
    assert not flag.exists()  # stage 3 alone runs them
    ok("data format_wav", *allowed, "--nj", 2, "data/set", "dump")
    assert flag.exists()
    assert {p.name for p in Path("dump/data").iterdir()} == {"a.flac", "b.flac"}
    for key, path in (("a", one), ("b", two)):
        want, _ = soundfile.read(path, dtype="int16")
        got, _ = soundfile.read(f"dump/data/{key}.flac", dtype="int16")
        np.testing.assert_array_equal(got, want)
    flag.unlink()
    ok("data format_wav", *allowed, "data/set", "dump")
    assert not flag.exists()  # it was done


def test_failing_pipes_are_named_and_leave_nothing(short_utterances):
    good = short_utterances[0][1]
    pipes = {
        "a-fails": f"cat {good} | (echo out of tape >&2; exit 3) | cat |",
        "b-silent": "true |",
        "c-cut": f"head -c 9000 {good} |",
        "d-text": "echo this is no audio |",
        "e-good": f"cat {good} |",
    }
    make_dir(pipes)
    message = refused("data format_wav", "--allow_pipes", "true", "data/set", "dump")
    for key, reason in {
        "a-fails": "status 3: out of tape",
        "b-silent": "no bytes",
        "c-cut": "truncated or damaged",
        "d-text": "cannot be read as audio",
    }.items():
        line = next(x for x in message.splitlines() if x.strip().startswith(key))
        assert reason in line and pipes[key] in line
    assert [p.name for p in Path("dump/data").iterdir()] == ["e-good.flac"]
    assert not Path("dump/wav.scp").exists()


def test_pipe_that_does_not_end_is_ended(monkeypatch):
    from espnet_a2m.data.formatting import wav_pipes

    monkeypatch.setattr(wav_pipes, "LIMIT_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"sleep 60 .*has not ended"):
        wav_pipes.open_recording("sleep 60 | cat |", Path("."))
    assert time.monotonic() - start < 10


def check_entry(entry: str) -> None:
    list(checked_entries([("utt", entry)]))


PIPES = [
    "touch pwned |",
    "touch pwned |:0",
    "touch pwned |[0]:12",
    "|touch pwned",
    " | ",
]


@pytest.mark.parametrize("entry", PIPES)
def test_commands_are_refused_by_every_reader(entry, short_utterances):
    for read in (
        lambda: read_audio("utt", entry, 16000),
        lambda: read_array(entry),
        lambda: check_entry(entry),
    ):
        with pytest.raises(DataError):
            read()
    write_table("speech.scp", {"utt": short_utterances[0][1]})
    write_table("other.scp", {"utt": entry.strip()})
    speech = ("speech.scp", "speech", "sound")
    for kind in ("kaldi_ark", "sound"):
        if kind == "sound" and "|" not in (entry[0], entry[-1]):
            continue  # a name that ESPnet gives to libsndfile, which knows no commands
        with pytest.raises(DataError):
            check_streams([speech, ("other.scp", "confidence", kind)])


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_pickles_and_false_sizes_are_refused():
    kaldiio.save_ark("good.ark", {"utt": np.ones((3, 2), np.float32)}, scp="good.scp")
    good = read_scp("good.scp")["utt"]
    np.testing.assert_array_equal(read_array(good), np.ones((3, 2)))
    check_entry(good)
    offset = int(good.rpartition(":")[2])
    content = Path("good.ark").read_bytes()
    huge = content.replace(b"\4\3\0\0\0", b"\4\xff\xff\xff\x7f")
    files = {
        "pickle": b"utt PKL" + pickle.dumps(Trap()),
        "numpy": b"utt NPY" + content,
        "cut": content[:-1],
        "huge": huge,
        "negative": content.replace(b"\4\3\0\0\0", b"\4\3\0\0\xff"),
        "text": b"utt [ 1 2 ]\n",
    }
    for name, damaged in files.items():
        assert damaged != content
        Path(name).write_bytes(damaged)
        for read in (read_array, check_entry):
            with pytest.raises(DataError, match=name):
                read(f"{name}:{offset}")
    with pytest.raises(DataError):
        check_entry("good.ark:99999")


def test_what_is_no_file_is_not_waited_for():
    os.mkfifo("fifo")
    for entry in ("fifo", "fifo:3", "/dev/zero", "/dev/zero:3", ".", "none", "a\0b"):
        with pytest.raises(DataError):
            read_audio("utt", entry, 16000)
        with pytest.raises(DataError):
            read_array(entry)


# --- Options of the recipe -------------------------------------------------------


def recipe(*options: str) -> subprocess.CompletedProcess:
    """The driver with no stage to run: it reads its options, and stops."""
    command = [str(ROOT / "local" / "a2m.sh"), "--stage", "98", "--stop_stage", "97"]
    command += ["--ssl_config", str(ROOT / "conf/tiny/ssl_w2vbert_conformer.yaml")]
    commands = {"train_cmd": "run_logged.sh", "cuda_cmd": "run_logged.sh"}
    return subprocess.run(
        [*command, *options],
        env={**os.environ, **commands},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("expdir", "a,b", "ESPnet splits paths"),
        ("ssl_tag", "a:b", "ESPnet splits paths"),
        ("dumpdir", "a[0]", "ESPnet splits paths"),
        ("dumpdir", "-x", "begins with a dash"),
        ("expdir", "| touch pwned", "begins with a dash"),
        ("expdir", "exp #1", "comment of YAML"),
        ("expdir", "a\nb", "line break"),
        ("test_sets", "a ../b", "slash"),
        ("valid_set", "..", "no name"),
        ("ngpu", "a[$(touch pwned)]", "not an integer"),
        ("max_wav_duration", "a[$(touch pwned)]", "not a number"),
        ("stage", "2.5", "not an integer"),
        ("skip_stages", "2,9", "no list such as '2 9'"),
        ("ssl_args", "--frontend_conf hop_length=320", "--ssl_config alone determines"),
        ("skip_train", "yes", "neither true nor false"),
        ("x[$(touch pwned)]", "1", "unknown option"),
    ],
)
def test_options_that_would_be_taken_apart_are_refused(option, value, reason):
    done = recipe(f"--{option}", value)
    assert done.returncode == 1
    assert reason in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_values_are_compared_with_the_default_not_with_the_recipe():
    twice = ("--max_wav_duration", "32", "--max-wav-duration", "32.5")
    tags = ("--ssl_tag", "1", "--ssl_tag=b")
    done = recipe(*twice, *tags, "--help")
    assert done.returncode == 0 and "maximum utterance length" in done.stdout
    assert "test sets are not filtered [32.5]" in done.stdout and " [b]" in done.stdout


def test_options_are_no_commands():
    options = ["dumpdir", "expdir", "ssl_tag", "train_set", "ssl_config"]
    lists = ["ssl_args", "test_sets", "local_data_opts", "asr_args"]
    done = recipe(*(x for name in options + lists for x in (f"--{name}", NASTY)))
    assert done.returncode == 0, done.stderr
    done = recipe("--python", NASTY)  # there is no such program
    assert done.returncode == 127 and NASTY in done.stderr


def test_a_step_takes_any_names():
    script = """
        set -euo pipefail
        . "$1/local/steps.sh"
        shift
        out=$1 input=$2 again=$3
        step "${out}" "${input}" -- tee "${out}/written" <"${input}"
        step "${out}" "${input}" -- tee "${out}/written" </dev/null | grep 'up to date'
        echo other >"${input}"
        step "${out}" "${input}" -- tee "${out}/${again}" <"${input}"
    """
    out, name = Path(f"out {NASTY}"), f"in * {NASTY}"
    Path(name).write_text("content\n")
    command = ["bash", "-c", script, "bash", str(ROOT), str(out), name, NASTY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "written").read_text() == "content\n"
    assert (out / NASTY).read_text() == "other\n"
