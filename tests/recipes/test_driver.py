"""The driver's parts: how jobs are started, what a failed one shows, steps at once."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_jobs(cwd: Path, program: str, count: int, script: str, *words: str):
    """N jobs of a shell script, as the driver starts them."""
    driver = """
        . "$1/local/steps.sh"; . "$1/local/training.sh"
        run_gpu=("$2") job_env=(env KEPT=1)
        in_job run_gpu --gpu 1 JOB=1:"$3" log/x.JOB.log bash -c "${@:4}" || exit 99
    """
    folder = ROOT / ("local" if program == "run_logged.sh" else "tests/helpers/cluster")
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


def test_local_back_end_gives_each_job_a_gpu(tmp_path, monkeypatch):
    """Two GPUs, five jobs: two at a time, never two on one GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    script = (
        "mkdir $CUDA_VISIBLE_DEVICES || exit 1; sleep .1; rmdir $CUDA_VISIBLE_DEVICES; "
        "echo JOB $CUDA_VISIBLE_DEVICES >>lanes"
    )
    done = run_jobs(tmp_path, "run_logged.sh", 5, script)
    assert done.returncode == 0, done.stderr
    lines = sorted((tmp_path / "lanes").read_text().splitlines())
    assert lines == ["1 3", "2 GPU-7", "3 3", "4 GPU-7", "5 3"]


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


STEP = """
set -euo pipefail
. "$1/local/steps.sh"
make_it() { sleep "$1"; echo made >>log; }
step out -- make_it 1
"""


def test_of_two_runs_one_waits_for_the_other(tmp_path):
    """And then finds it made; a third one, later, too."""
    command = ["bash", "-c", STEP, "bash", str(ROOT)]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert said[0] == "" and "out: waiting for another run" in said[1]
    assert "out: up to date" in said[1]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("out: up to date")
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_run_is_not_waited_for(tmp_path):
    command = ["bash", "-c", STEP.replace("make_it 1", "make_it 30"), "bash", str(ROOT)]
    killed = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "out" / ".begun").exists():
        time.sleep(0.01)
    subprocess.run(["kill", "-KILL", "--", f"-{killed.pid}"], check=True)
    killed.wait()
    command[2] = STEP
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "waiting" not in done.stdout
