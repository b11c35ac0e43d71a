"""The driver's parts: options, configurations, jobs, failed stages, concurrent runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.recipes import copy_recipe, run

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).resolve().parents[2]


def run_jobs(cwd: Path, program: str, count: int, script: str, *words: str):
    """N jobs of a shell script, as the driver starts them."""
    driver = """
        for name in parse_options steps training; do . "$1/local/${name}.sh"; done
        trap report_failure EXIT
        current_stage="8 (confidences)" resume_stage=8
        run_gpu=("$2") job_env=(env KEPT=1)
        in_job run_gpu --gpu 1 JOB=1:"$3" log/x.JOB.log bash -c "${@:4}"
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
    assert done.stderr.splitlines()[-1] == (
        "ERROR: stage 8 (confidences) failed; after fixing it, resume with "
        "./run.sh --stage 8 and your other options"
    )
    (tmp_path / "log").rename(tmp_path / "old")
    assert run_jobs(tmp_path, program, 2, "exit 0").stderr == ""


def test_a_failed_stage_says_where_to_resume(tmp_path):
    """Once, after the program's own message; where a file is missing, at its stage."""
    recipe = copy_recipe("tedlium", tmp_path / "recipe")
    for first, resume, cause in (
        ("1", "1", "Set LIBRILIGHT in the recipe's db.sh"),
        ("2", "1", "data/tedlium_train/wav.scp is missing: run stage 1 first"),
        ("13", "11", "exp/ssl_atm/.made is missing: run stage 11 first"),
    ):
        failed = run(recipe, stage=first, stop_stage=first)
        assert failed.returncode == 1
        *_, before, last = failed.stderr.splitlines()
        assert cause in before
        assert (
            last.startswith(f"ERROR: stage {first} (")
            and failed.stderr.count(last) == 1
        )
        assert f"resume with ./run.sh --stage {resume} " in last
    refused = run(recipe, stage="1", scorer="pocketsphinx")
    assert refused.returncode == 1 and "stage 1" not in refused.stderr
    assert "examples/pocketsphinx_ctm.py" in refused.stderr


CHECK = """
. "$1/local/steps.sh"
shift
export skip_data_prep=false skip_train=false skip_eval=false
stage=1 stop_stage=17 skip_stages= own_scorer= label_tag=mfcc num_clusters=50
ssl_init= label_kmeans=
ssl_exp=exp python=show fs=8000
for name in scorer ssl asr inference; do
    printf -v "${name}_config" "${name}.yaml"
    printf -v "${name}_args" -- "--${name} 1"
done
show() { printf '%s\\n' "${@:3}"; }
for option in "$@"; do printf -v "${option%%=*}" "${option#*=}"; done
check_configs
"""


@pytest.mark.parametrize(
    ("options", "checked"),
    [
        ([], "scorer ssl label_tag num_clusters asr inference"),
        (["stop_stage=5"], ""),
        (["skip_train=true", "skip_eval=true"], ""),
        (["own_scorer=x", "stop_stage=13"], "ssl label_tag num_clusters asr"),
        (["stage=7", "stop_stage=8"], "scorer"),
        (["stage=11", "skip_stages=13 12"], "ssl label_tag inference"),
        (
            ["stop_stage=11", "ssl_init=x", "label_kmeans=y"],
            "scorer ssl label_tag ssl_init",
        ),
        (["stage=12", "stop_stage=12", "ssl_init=x"], "pretrained asr"),
        (["stage=12", "stop_stage=12"], "pretrained asr"),
        (["stage=9", "stop_stage=9"], ""),
        (["stage=15"], ""),
    ],
)
def test_configurations_of_the_stages_to_run_are_checked(tmp_path, options, checked):
    """Once, before the first; what is pre-trained already by its own configuration."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "config.yaml").touch()
    command = ["bash", "-euc", CHECK, "x", str(ROOT), *options]
    words = subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()
    assert words[:1] == (["--fs=8000"] if checked else [])
    names = [word.partition("=")[0].removeprefix("--") for word in words[1:]]
    found = [name.removesuffix("_config") for name in names if "_args" not in name]
    assert " ".join(found) == checked
    if "ssl" in found:
        assert "--ssl_config=ssl.yaml" in words and "--ssl_args=--ssl 1" in words


LABELS = """
for name in parse_options steps training; do . "$1/local/${name}.sh"; done
python=show label_dir=exp/labels label_features=mfcc trust_checkpoint=$2
scoring_nj=1 ngpu=0 pretrain_dir=pool valid_dir=dev
show() { echo "${@:3}"; }
make_labels 50 1.5 "$3" --fs 8000
"""


def test_labels_are_of_a_new_kmeans_or_of_a_given_one(tmp_path):
    (tmp_path / "path.sh").touch()

    def commands(*words: str) -> list[str]:
        command = ["bash", "-euc", LABELS, "x", str(ROOT), *words]
        return subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()

    given = "--fs 8000 --output_dir exp/labels"
    assert commands("false", "") == [
        f"{given} --fit_data pool --num_clusters 50 --fit_hours 1.5",
        f"{given} --kmeans exp/labels/km.npz --data pool dev",
    ]
    assert commands("true", "km.mdl") == [
        f"{given} --trust_checkpoint true --kmeans km.mdl --data pool dev"
    ]


def test_encoders_that_do_not_match_stop_the_recipe_before_stage_1(tmp_path):
    recipe = copy_recipe("tedlium", tmp_path / "recipe")
    failed = run(recipe, asr_args="--encoder_conf num_blocks=5")
    assert failed.returncode == 1 and "stage 1" not in failed.stdout + failed.stderr
    assert "asr_transducer_conformer.yaml with --asr_args" in failed.stderr
    assert "encoder_conf.num_blocks is 5, but " in failed.stderr


OPTIONS = """
. "$1/local/parse_options.sh"
option_list='mic | ihm | microphone
inner | |
count | 2 | a number'
shift
"$@"
echo "mic=${mic} inner=${inner} count=${count}" "${rest[@]@Q}"
"""


def test_options_of_a_recipe_and_of_the_driver():
    def parse(*words: str) -> subprocess.CompletedProcess:
        command = ["bash", "-c", OPTIONS, "x", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True)

    known = parse(
        *("parse_known_options", "--stage", "--mic", "--mic", "sdm1", "--in-ner", "1"),
        *("--scorer_args", "--count=3", "--count=4", "--ssl_args=--mic x"),
    )
    assert known.stdout == (
        "mic=sdm1 inner= count=4 '--stage' '--mic' '--in-ner' '1' '--scorer_args' "
        "'--count=3' '--ssl_args=--mic x'\n"
    )
    shown = parse("parse_known_options", "--mic", "mdm", "--help", "--stage", "3")
    assert "--mic                      microphone [mdm]\n" in shown.stdout
    assert "--inner" not in shown.stdout
    assert shown.stdout.endswith("count=2 '--help' '--stage' '3'\n")
    assert parse("parse_options", "--help").returncode == 0
    for words, message in (
        (["--mci", "x"], "unknown option --mci; did you mean --mic?"),
        (["mic"], "mic is not an option"),
        (["--mic"], "--mic needs a value"),
        (["--count", "a[$(touch /tmp/x)]"], "--count is not an integer"),
        (["--mic", "a\nb"], "a line break or another control character"),
    ):
        failed = parse("parse_options", *words)
        assert failed.returncode == 1 and message in failed.stderr


def test_configurations_are_read_whatever_their_notation(tmp_path):
    """The modules that a configuration does not name are ESPnet's default ones."""
    keys = ("normalize", "preencoder", "decoder")
    flow, block = tmp_path / "flow.yaml", tmp_path / "a b.yaml"
    flow.write_text(
        "{'normalize': \"global_mvn\", decoder: Transducer, preencoder: NULL}"
    )
    block.write_text("# decoder: x\nnormalize:\n  global_mvn\npreencoder: sinc\n")
    command = [sys.executable, "-m", "espnet_a2m.bin.config_values", "--keys", *keys]
    files = (flow, block, tmp_path / "absent.yaml")
    shown = subprocess.check_output([*command, "--", *files], text=True)
    values = [
        *("global_mvn", "none", "transducer"),
        *("global_mvn", "sinc", "none"),
        *("utterance_mvn", "none", "none"),
    ]
    names = [f"{path}:{key}" for path in files for key in keys]
    assert shown.splitlines() == [" ".join(pair) for pair in zip(values, names)]
    flow.write_text("decoder: [")
    failed = subprocess.run([*command, "--", flow], capture_output=True, text=True)
    assert failed.returncode == 1 and f"ERROR: {flow}:1: " in failed.stderr


STEP = """
set -euo pipefail
. "$1/local/steps.sh"
write() { sleep "$1"; echo written >>log; }
step out -- write 1
"""


def test_of_two_runs_one_waits_for_the_other(tmp_path):
    """The second then finds it complete; so does a later one."""
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
    assert (tmp_path / "log").read_text() == "written\n"


TRAIN = """
set -euo pipefail
. "$1/local/parse_options.sh"
. "$1/local/steps.sh"
python=$2
train() { echo "$*" >>log; touch out/checkpoint.pth; }
step out data.txt conf.yaml -- train stats "${@:3}"
"""


def test_a_training_run_is_prolonged_but_not_changed(tmp_path):
    """What differs is named, with both values."""
    (tmp_path / "data.txt").write_text("one")
    (tmp_path / "conf.yaml").write_text("accum_grad: 1\noptim_conf: {lr: 0.1}\n")

    def train(*options: str) -> tuple[int, str]:
        words = ["bash", "-c", TRAIN, "bash", str(ROOT), sys.executable, *options]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def refused(*options: str) -> str:
        status, said = train(*options)
        assert status == 1 and "ERROR: out was trained from other" in said
        assert "name a new experiment (--*_tag)" in said
        return said.partition(" (")[2].partition("): remove")[0]

    begin = ("--max_epoch", "10", "--seed=1", "--encoder_conf", "num_blocks=4")
    assert train(*begin) == (0, "")
    assert "up to date" in train(*begin)[1]
    longer = ("--max_epoch=20", "--seed=1", "--encoder_conf", "num_blocks=4")
    longer += ("--keep_nbest_models", "5", "10")
    assert train(*longer) == (0, "")
    assert "up to date" in train(*longer)[1]
    runs = (tmp_path / "log").read_text().splitlines()
    assert runs == ["stats " + " ".join(options) for options in (begin, longer)]

    assert refused(*longer, "--seed", "2") == "seed: 1 -> 2"
    other = refused(
        *longer, "--encoder_conf", "num_blocks=5", "--num_iters_per_epoch", "9"
    )
    assert other == (
        "encoder_conf num_blocks: 4 -> 5; num_iters_per_epoch: not given -> 9"
    )
    (tmp_path / "data.txt").write_text("other")
    assert refused(*longer) == "data.txt has changed"
    (tmp_path / "data.txt").write_text("one")
    saved = "accum_grad: 1\nmax_epoch: 10\nseed: 1\noptim_conf: {lr: 0.1, eps: 1}\n"
    (tmp_path / "out" / "config.yaml").write_text(saved)
    (tmp_path / "conf.yaml").write_text(
        "accum_grad: 2\nseed: 5\noptim_conf: {lr: 0.2}\n"
    )
    assert refused(*longer) == (
        "conf.yaml has changed (accum_grad: 1 -> 2, optim_conf lr: 0.1 -> 0.2)"
    )
    (tmp_path / "out" / ".begun").unlink()
    assert "which tells how it was trained, is missing" in refused(*longer)


def test_an_interrupted_run_is_not_waited_for(tmp_path):
    command = ["bash", "-c", STEP.replace("write 1", "write 30"), "bash", str(ROOT)]
    killed = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "out" / ".begun").exists():
        time.sleep(0.01)
    subprocess.run(["kill", "-KILL", "--", f"-{killed.pid}"], check=True)
    killed.wait()
    command[2] = STEP
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "waiting" not in done.stdout
