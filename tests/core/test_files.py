"""Files are complete or not there, also where the writer fails or is interrupted."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_a2m.core.files import (
    atomic_writer,
    file_digest,
    with_filename,
    write_atomic,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("content", ["naïve\n", b"\0\xff", ""])
def test_writes_text_and_bytes_into_new_folders(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, content)
    data = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_atomic(tmp_path / "ours", "")
    (tmp_path / "usual").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("old", ["old", None])
def test_an_error_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(KeyError), atomic_writer(path) as stream:
        stream.write(b"half of the new")
        raise KeyError
    assert os.listdir(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_text() == old


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        with atomic_writer(path) as stream:
            stream.write(b"new")
            stream.flush()
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert reader.read() == "old"


def test_sigkill_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from espnet_a2m.core.files import atomic_writer\n"
        "with atomic_writer(sys.argv[1]) as stream:\n"
        "    stream.write(b'n' * 1_000_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == [
        "file"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named():
    with (
        pytest.raises(OSError) as caught,
        with_filename("table"),
        open("/dev/full", "wb", buffering=0) as stream,
    ):
        stream.write(b"x")
    assert caught.value.filename == "table"


def test_a_name_that_an_error_has_stays(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, with_filename("table"):
        (tmp_path / "none").read_bytes()
    assert caught.value.filename == str(tmp_path / "none")


def test_digest(short_utterances):
    path = short_utterances[-1][1]  # several blocks long
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
