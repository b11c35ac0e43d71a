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

from espnet_a2m import chunked_table
from espnet_a2m.kaldi_ark import read_bytes
from espnet_a2m.kaldi_table import read_scp, write_table

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def data(tmp_path, short_utterances, monkeypatch) -> Path:
    """A formatted set of 23 utterances: six chunks of four, the last one shorter."""
    monkeypatch.setattr(chunked_table, "CHUNK_UTTERANCES", 4)
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
    """Every byte of the confidences, and the files about the whole set."""
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

    # another number of jobs, then one alone: nothing of the earlier ones is left
    for job in (1, 2):
        score(data, tmp_path / "out", "--nj", 2, "--job", job)
    score(data, tmp_path / "out", "--nj", 2)
    assert scored(tmp_path / "out") == want
    left = {p.name for p in (tmp_path / "out/jobs").iterdir()}
    assert left == {"1-of-2", "2-of-2"}
    score(data, tmp_path / "out")
    assert scored(tmp_path / "out") == want
    assert not (tmp_path / "out/jobs").exists()


def test_a_missing_part_is_named_with_its_command(data, tmp_path, capsys):
    out = tmp_path / "out"

    def refused() -> str:
        with pytest.raises(SystemExit) as caught:
            score(data, out, "--nj", 3)
        assert caught.value.code == 1
        assert not (out / "confidence.scp").exists()
        return capsys.readouterr().err

    def command(job: int) -> str:
        words = ["--scorer", "energy", "--data", data, "--output_dir", out]
        words += ["--nj", 3, "--job", job]
        return shlex.join(["python", "-m", "espnet_a2m.bin.score", *map(str, words)])

    score(data, out, "--nj", 3, "--job", 1)
    score(data, out, "--nj", 3, "--job", 3)
    message = refused()
    assert "job 2 of 3 is not done" in message and command(2) in message

    score(data, out, "--nj", 3, "--job", 2)
    ark = out / "jobs/3-of-3/chunks/000005.ark"
    ark.write_bytes(ark.read_bytes()[:-1])
    message = refused()
    assert "000005" in message and command(3) in message

    score(data, out, "--nj", 3, "--job", 3)  # makes that chunk again
    score(data, out, "--nj", 3, "--job", 2, "--scorer_conf", "range_db=20")
    message = refused()
    assert "has other options than job 1" in message and command(2) in message

    score(data, out, "--nj", 3, "--job", 2)
    utts = read_scp(data / "wav.scp")
    utts.popitem()
    write_table(data / "wav.scp", utts)
    message = refused()
    assert "is not of" in message and command(1) in message


@pytest.mark.parametrize(("jobs", "job"), [(2, 3), (2, 0), (1, 2)])
def test_jobs_that_there_are_not(data, tmp_path, capsys, jobs, job):
    with pytest.raises(SystemExit):
        score(data, tmp_path / "out", "--nj", jobs, "--job", job)
    assert f"--job {job}" in capsys.readouterr().err


def test_a_killed_job_goes_on(data, tmp_path, monkeypatch):
    """SIGKILL when it has made a chunk; what is there is not made again."""
    program = (
        "import sys; from espnet_a2m import chunked_table\n"
        "chunked_table.CHUNK_UTTERANCES = 1\n"
        "from espnet_a2m.bin.score import main; main(sys.argv[1:])"
    )
    words = ["--scorer", "energy", "--data", data, "--output_dir", tmp_path / "out"]
    words += ["--nj", "2", "--job", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    chunks = tmp_path / "out/jobs/2-of-2/chunks"
    while process.poll() is None and not list(chunks.glob("*.scp")):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL  # before it was done
    made = {p: p.stat().st_mtime_ns for p in chunks.glob("[0-9]*.scp")}
    assert made

    monkeypatch.setattr(chunked_table, "CHUNK_UTTERANCES", 1)
    score(data, tmp_path / "out", "--nj", 2, "--job", 2)
    assert made == {p: p.stat().st_mtime_ns for p in made}
    score(data, tmp_path / "out", "--nj", 2, "--job", 1)
    score(data, tmp_path / "out", "--nj", 2)
    score(data, tmp_path / "one")
    assert scored(tmp_path / "out") == scored(tmp_path / "one")


def run_jobs(cwd: Path, program: str, count: int, script: str, *words: str):
    """N jobs of a shell script, as the driver starts them."""
    driver = """
        . "$1/local/steps.sh"; . "$1/local/training.sh"
        run_gpu=("$2") job_env=(env KEPT=1)
        in_job run_gpu --gpu 1 JOB=1:"$3" log/x.JOB.log bash -c "${@:4}" || exit 99
    """
    folder = ROOT / ("local" if program == "run_logged.sh" else "tests/cluster")
    command = ["bash", "-c", driver, "driver", ROOT, folder / program, count, script]
    (cwd / "path.sh").touch()
    return subprocess.run(
        [str(part) for part in (*command, *words)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def test_local_back_end_runs_jobs_at_the_same_time(tmp_path):
    """Each waits for the other's file."""
    wait = (
        "touch JOB; for i in {1..500}; do [ -e $((3 - JOB)) ] && exit; sleep .01; done"
    )
    assert run_jobs(tmp_path, "run_logged.sh", 2, f"{wait}; exit 1").returncode == 0
    assert "code 0" in (tmp_path / "log/x.2.log").read_text()


@pytest.mark.parametrize("program", ["run_logged.sh", "slurm.pl"])
def test_the_first_log_of_those_that_fail_is_shown(tmp_path, program):
    script = "echo said by JOB, KEPT=$KEPT; exit $((JOB > 1 ? JOB + 3 : 0))"
    done = run_jobs(tmp_path, program, 4, script)
    assert done.returncode == 1
    assert "log/x.2.log" in done.stderr and "said by 2, KEPT=1" in done.stderr
    assert "said by 1" not in done.stderr and "said by 3" not in done.stderr
    assert "said by 4" in (tmp_path / "log/x.4.log").read_text()
    (tmp_path / "log").rename(tmp_path / "old")
    assert run_jobs(tmp_path, program, 2, "exit 0").stderr == ""
