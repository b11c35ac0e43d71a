"""What the tests of recipes share: a copy of a recipe, small sizes, its run.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from helpers import forking

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    "--encoder_conf output_size=48 --encoder_conf linear_units=96 --max_epoch 1 "
    "--num_workers 0"
)
#: To the last stage in each; otherwise in some only, which are enough for the driver
ALL = os.environ.get("A2M_RECIPES") == "all"
TINY = ROOT / "conf" / "tiny"
OPTIONS = {
    "token_type": "char",
    "scorer_exp": "",  # not that of a LibriSpeech recipe that happens to be there
    "scorer_config": str(TINY / "asr_ctc_conformer.yaml"),
    "ssl_config": str(TINY / "ssl_w2vbert_conformer.yaml"),
    "asr_config": str(TINY / "asr_ctc_conformer.yaml"),
    "inference_config": str(ROOT / "conf" / "decode_ctc.yaml"),
    "scorer_args": QUICK,
    "ssl_args": QUICK,
    "asr_args": QUICK,
    "eval_scorer": "false",
    "num_plots": "1",
    "num_threads": "1",
    "nj": "1",  # processes take longer to start than these have to do
    "inference_nj": "1",
    "stop_stage": "15",
}


def copy_recipe(name: str, target: Path, fork: bool = True, **places: Path) -> Path:
    """A copy of a recipe whose db.sh names the corpora.

    Args:
        name: of the corpus, in egs2.
        target: The folder to write.
        fork: Let the server of ``forking`` run its programs.
        places: Variables of db.sh.
    """
    source = ROOT / "egs2" / name / "a2m1"
    target.mkdir()
    for file in ("run.sh", "cmd.sh"):
        shutil.copy(source / file, target / file)
    path = (source / "path.sh").read_text()
    (target / "path.sh").write_text(path.replace("../../..", str(ROOT)))
    if fork:
        use_forks(target)
    shutil.copytree(source / "local", target / "local")
    if not (source / "db.sh").exists():
        return target
    database = (source / "db.sh").read_text()
    for variable, place in places.items():
        assert re.search(f"^{variable}=", database, re.M)
        database += f"{variable}='{place}'\n"
    (target / "db.sh").write_text(database)
    return target


def use_forks(recipe: Path) -> None:
    """Let the recipe's path.sh name the server's python3, where it is python3."""
    with (recipe / "path.sh").open("a") as f:
        f.write(f"export PATH={forking.server() / 'bin'}:$PATH\n")


def use_cluster(recipe: Path) -> None:
    """Let the recipe's cmd.sh name slurm.pl, a stand-in for Kaldi's."""
    with (recipe / "cmd.sh").open("a") as f:
        f.write("export train_cmd=slurm.pl cuda_cmd=slurm.pl\n")
        f.write(f"export PATH={ROOT / 'tests' / 'helpers' / 'cluster'}:$PATH\n")


def environment() -> dict[str, str]:
    """The environment of a user with a default installation."""
    extras = str(ROOT / "tests" / "helpers" / "default_install")
    return {**os.environ, "A2M_ROOT": str(ROOT), "PYTHONPATH": extras}


def command(**options: str) -> list[str]:
    """./run.sh with options."""
    words = ["./run.sh"]
    for name, value in options.items():
        words += [f"--{name}", value]
    return words


def run(recipe: Path, **options: str) -> subprocess.CompletedProcess:
    """Run run.sh as a user does."""
    return subprocess.run(
        command(**options),
        cwd=recipe,
        env=environment(),
        capture_output=True,
        text=True,
    )
