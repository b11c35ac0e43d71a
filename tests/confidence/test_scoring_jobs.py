"""What several jobs score is what one job scores, and no job may be left out."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from espnet_a2m.data import shards
from espnet_a2m.data.archives import read_bytes
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]
CHUNK_TABLES = "*/[0-9][0-9][0-9][0-9][0-9][0-9].scp"


@pytest.fixture
def data(tmp_path, short_utterances, monkeypatch) -> Path:
    """A formatted set of 23 utterances: six chunks of four, the last one shorter."""
    monkeypatch.setattr(shards, "CHUNK_UTTERANCES", 4)
    chosen = {utt: path for utt, path, _ in short_utterances[:23]}
    write_table(tmp_path / "data/wav.scp", chosen)
    samples = {utt: soundfile.info(path).frames for utt, path in chosen.items()}
    write_table(tmp_path / "data/utt2num_samples", samples)
    return tmp_path / "data"


def score(data: Path, output: Path, *options: object) -> None:
    from espnet_a2m.bin.score import main

    words = ["--scorer", "energy", "--data", data, "--output_dir", output, *options]
    main([str(word) for word in words])


def scored(output: Path) -> tuple[dict[str, bytes], bytes, bytes]:
    """Every byte of the confidences, and the files about the set."""
    table = read_scp(output / "confidence.scp")
    values = {utt: read_bytes(source) for utt, source in table.items()}
    files = [(output / name).read_bytes() for name in ("utt2conf", "grid.json")]
    return values, files[0], files[1]


@pytest.mark.parametrize("jobs", [2, 3, 7])
def test_jobs_make_what_one_makes(data, tmp_path, jobs):
    score(data, tmp_path / "one")
    want = scored(tmp_path / "one")
    assert list(want[0]) == list(read_scp(data / "wav.scp"))
    for job in range(jobs, 0, -1):  # in any order
        assert not (tmp_path / "out/confidence.scp").exists()
        score(data, tmp_path / "out", "--nj", jobs, "--job", job)
    score(data, tmp_path / "out", "--nj", jobs)
    assert scored(tmp_path / "out") == want

    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("chunks", "confidence.scp", "utt2conf", "grid.json", "metadata.json")
    }


def test_another_number_of_jobs_resumes(data, tmp_path):
    """Complete chunks are used, whoever wrote them; jobs of other options wait."""
    out = tmp_path / "out"
    score(data, out, "--nj", 3, "--job", 2)
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*.ark")}
    assert written
    half = out / "chunks" / next(iter(written)).parent.name / ".000000.1234.ark"
    half.write_bytes(b"cut")  # what an interrupted job left
    os.utime(half, (0, 0))
    score(data, out)
    assert written == {p: p.stat().st_mtime_ns for p in written} and not half.exists()
    first = scored(out)
    (out / "metadata.json").rename(out / "made_by.json")  # as version 0.1 has it
    score(data, out, "--nj", 5, "--job", 4)
    score(data, out, "--nj", 5)  # all chunks are there already
    assert written == {p: p.stat().st_mtime_ns for p in written}
    assert not (out / "made_by.json").exists()
    assert scored(out) == first

    other = ("--scorer_conf", "range_db=20")
    score(data, out, *other, "--nj", 2, "--job", 1)
    assert scored(out) == first  # replaced when all of the other is there
    with pytest.raises(SystemExit):
        score(data, out, *other, "--nj", 2)
    assert scored(out) == first
    score(data, out, *other, "--nj", 2, "--job", 2)
    score(data, out, *other, "--nj", 2)
    assert scored(out)[0] != first[0] and len(list((out / "chunks").iterdir())) == 1


def test_the_last_step_needs_no_torch(data, tmp_path):
    """A second, and a tenth of the memory."""
    for job in (1, 2):
        score(data, tmp_path / "out", "--nj", 2, "--job", job)
    words = ["--scorer", "energy", "--data", data, "--output_dir", tmp_path / "out"]
    program = (
        "import sys; from espnet_a2m.data import shards\n"
        "shards.CHUNK_UTTERANCES = 4\n"
        "from espnet_a2m.bin.score import main; main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, *map(str, words), "--nj", "2"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    score(data, tmp_path / "one")
    assert scored(tmp_path / "out") == scored(tmp_path / "one")


def test_two_runs_of_one_job_at_once(data, tmp_path):
    """Either may write a chunk; both end well, and it is complete."""
    words = ["--scorer", "energy", "--data", data, "--output_dir", tmp_path / "out"]
    command = [sys.executable, "-m", "espnet_a2m.bin.score", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        assert not run.communicate()[1].count("ERROR") and run.returncode == 0
    score(data, tmp_path / "one")
    assert scored(tmp_path / "out")[1:] == scored(tmp_path / "one")[1:]


def test_a_missing_part_is_named_with_its_command(data, tmp_path, capsys):
    out = tmp_path / "out"

    def refused(*options: object) -> str:
        with pytest.raises(SystemExit) as caught:
            score(data, out, "--nj", 3, *options)
        assert caught.value.code == 1
        assert not (out / "confidence.scp").exists()
        return capsys.readouterr().err

    def command(job: int) -> str:
        words = ["--scorer", "energy", "--data", data, "--output_dir", out]
        words += ["--nj", 3, "--job", job]
        return shlex.join(["python", "-m", "espnet_a2m.bin.score", *map(str, words)])

    message = refused()
    assert "no job has been run" in message and command(1) in message

    score(data, out, "--nj", 3, "--job", 1)
    score(data, out, "--nj", 3, "--job", 3)
    message = refused()
    assert "job 2 of 3 is not done" in message and command(2) in message

    score(data, out, "--nj", 3, "--job", 2)
    (ark,) = out.glob("chunks/*/000005.ark")
    ark.write_bytes(ark.read_bytes()[:-1])
    message = refused()
    assert "000005" in message and command(3) in message

    score(data, out, "--nj", 3, "--job", 3)  # makes that chunk again
    message = refused("--scorer_conf", "range_db=20")
    assert "the last job was not of conf {'range_db': 20}" in message

    utts = read_scp(data / "wav.scp")
    utts.popitem()
    write_table(data / "wav.scp", utts)
    message = refused()
    assert "wav.scp as it is now" in message and command(1) in message


@pytest.mark.parametrize(("jobs", "job"), [(2, 3), (2, 0), (1, 2)])
def test_jobs_that_there_are_not(data, tmp_path, capsys, jobs, job):
    with pytest.raises(SystemExit):
        score(data, tmp_path / "out", "--nj", jobs, "--job", job)
    assert f"--job {job}" in capsys.readouterr().err


def test_a_job_resumes_after_sigkill(data, tmp_path, monkeypatch):
    """SIGKILL when it has written a chunk, which is not written again."""
    program = (
        "import sys; from espnet_a2m.data import shards\n"
        "shards.CHUNK_UTTERANCES = 1\n"
        "from espnet_a2m.bin.score import main; main(sys.argv[1:])"
    )
    words = ["--scorer", "energy", "--data", data, "--output_dir", tmp_path / "out"]
    words += ["--nj", "2", "--job", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    chunks = tmp_path / "out" / "chunks"
    while process.poll() is None and not list(chunks.glob(CHUNK_TABLES)):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL  # before it was done
    written = {p: p.stat().st_mtime_ns for p in chunks.glob(CHUNK_TABLES)}
    assert written

    monkeypatch.setattr(shards, "CHUNK_UTTERANCES", 1)
    score(data, tmp_path / "out", "--nj", 2, "--job", 2)
    assert written == {p: p.stat().st_mtime_ns for p in written}
    score(data, tmp_path / "out", "--nj", 2, "--job", 1)
    score(data, tmp_path / "out", "--nj", 2)
    score(data, tmp_path / "one")
    assert scored(tmp_path / "out") == scored(tmp_path / "one")
