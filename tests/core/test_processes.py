"""Jobs at the same time: GPUs, failures, interruptions; with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.killing import take_interrupts

from espnet_a2m.core.processes import Job, duration, run_jobs

pytestmark = pytest.mark.unit


def shell(folder: Path, *scripts: str) -> list[Job]:
    return [
        Job(f"job {i}", ["bash", "-c", script], folder / "log" / f"{i}.log")
        for i, script in enumerate(scripts, 1)
    ]


def test_jobs_run_at_the_same_time_and_one_that_fails_stops_no_other(tmp_path, capfd):
    """The first two wait for each other's file."""
    wait = "touch %s; for i in {1..200}; do [ -e %s ] && exit; sleep .01; done; exit 1"
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    jobs = shell(tmp_path, wait % (a, b), wait % (b, a), "echo said; exit 3", "exit 0")
    assert run_jobs(jobs, 2) == [jobs[2]]
    assert jobs[2].log.read_text() == "# bash -c 'echo said; exit 3'\nsaid\n"
    told = capfd.readouterr().out
    assert "job 3: FAILED after 0 s; " in told and "; running: job" in told
    assert "job 4: done in 0 s; " in told and "; 4 of 4\n" in told
    assert run_jobs(jobs[2:], 1) == [jobs[2]]
    assert jobs[2].log.read_text().count("said\n") == 2  # a log is continued


def test_each_job_has_gpus_of_its_own(tmp_path, monkeypatch):
    """Five GPUs, two a job: two jobs at a time however many are asked for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,GPU-7,5,6")
    script = (
        f"cd {tmp_path}; mkdir $CUDA_VISIBLE_DEVICES || exit 1; sleep .1; "
        "rmdir $CUDA_VISIBLE_DEVICES; echo $CUDA_VISIBLE_DEVICES >>used"
    )
    assert run_jobs(shell(tmp_path, *[script] * 5), 4, ngpu=2) == []
    assert set((tmp_path / "used").read_text().split()) == {"3,4", "GPU-7,5"}
    told = "echo $CUDA_VISIBLE_DEVICES"
    for nj, ngpu in ((1, 0), (2, 6)):  # none wanted; not as many: the program says so
        (job,) = shell(tmp_path / str(ngpu), told)
        assert run_jobs([job], nj, ngpu) == []
        assert job.log.read_text().endswith("\n3,4,GPU-7,5,6\n")


def test_an_interruption_ends_all_that_was_started(tmp_path):
    program = """if True:
        from pathlib import Path
        from espnet_a2m.core.processes import Job, run_jobs
        script = "sleep 60 & echo $! >$0.tmp; mv $0.tmp $0.pid; wait"
        run_jobs([Job(n, ["bash", "-c", script, n], Path("log")) for n in "abc"], 2)
    """
    runner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=take_interrupts,
    )
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert runner.poll() is None
        time.sleep(0.01)
    runner.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in runner.communicate()[1]
    pids = ",".join(path.read_text().strip() for path in tmp_path.glob("*.pid"))
    left = subprocess.run(["ps", "-o", "stat=", "-p", pids], capture_output=True)
    # none, or dead and still in the table
    assert all(state.startswith(b"Z") for state in left.stdout.split())
    assert not (tmp_path / "c.pid").exists()


def test_durations():
    seconds = (0.4, 59.0, 61, 3540, 3600, 7500)
    words = ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "2 h 5 min"]
    assert [duration(x) for x in seconds] == words
