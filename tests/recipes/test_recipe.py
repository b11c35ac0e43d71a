"""The Asterisk recipe in miniature, from stage 1 to RESULTS.md, through run.sh."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import recipes

from espnet_a2m.data.tables import read_scp

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("A2M_CACHE", ROOT / ".cache" / "asterisk"))
SMALL = "--encoder_conf output_size=48 --encoder_conf linear_units=96"
QUICK = f"{SMALL} --max_epoch 2 --num_workers 0"
OPTIONS = {
    "local_data_opts": f"--subset 0.08 --downloads {CACHE}",
    "speed_perturb_factors": "0.9 1.0",
    "scorer_args": QUICK,
    "ssl_args": QUICK,
    "asr_args": QUICK,
    "label_tag": "",
    "ssl_config": str(recipes.TINY / "ssl_w2vbert_conformer.yaml"),
    "test_sets": "test_clean test_far",
    "num_plots": "2",
    "inference_nj": "1",  # each would start ESPnet
    "num_threads": "1",  # so little work is slower with two where others run
}

pytestmark = [pytest.mark.recipe, pytest.mark.slow]


def run(recipe: Path, **options: str) -> subprocess.CompletedProcess:
    """Run the recipe's run.sh as a user does, with the miniature's options."""
    return recipes.run(recipe, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe in which stages 1 to 16 have run."""
    directory = tmp_path_factory.mktemp("asterisk") / "a2m1"
    recipes.copy_recipe("asterisk", directory, fork=False)
    first = run(directory, stop_stage="5")
    if first.returncode and "apt" in first.stderr and "network" in first.stderr:
        pytest.skip("neither apt, network nor cached sounds: " + first.stderr[-300:])
    assert first.returncode == 0, first.stdout + first.stderr
    rest = run(directory, stage="6", skip_packing="false")
    assert rest.returncode == 0, rest.stdout[-3000:] + rest.stderr[-3000:]
    (directory / "stdout").write_text(first.stdout + rest.stdout)
    recipes.use_forks(directory)  # all programs have been started by an interpreter
    return directory


def test_every_stage_left_what_it_says(recipe):
    for path in (
        *("data/train_sup/text", "data/train_sup_sp/utt2spk", "data/pretrain/wav.scp"),
        *("dump/raw/train_sup_sp/wav.scp", "dump/raw/test_far/wav.scp"),
        "data/token_list/train_sup_char/tokens.txt",
        "exp/scorer_stats/train/feats_stats.npz",
        *("exp/scorer_ctc/valid.loss.ave.pth", "exp/scorer_ctc/train.log"),
        *("exp/confidence_ctc/pretrain/confidence.scp", "exp/ssl_atm/train.log"),
        *(
            "exp/confidence_ctc/dev/utt2conf",
            "exp/ssl_stats_ssl_w2vbert_conformer_pretrain/train/speech_shape",
        ),
        *("exp/ssl_atm/config.yaml", "exp/asr_atm/valid.loss.ave.pth"),
        *("exp/asr_atm/decode_ctc/test_far/text", "exp/asr_atm/atm.zip"),
        *("exp/ssl_atm/export/model.pth", "exp/ssl_atm/atm_ssl.zip"),
        *("exp/asr_atm/decode_ctc/test_clean/score_wer/result.txt", "RESULTS.md"),
    ):
        assert (recipe / path).stat().st_size > 0, path
    figures = list((recipe / "exp").rglob("*.png"))
    assert len(figures) >= 4  # two utterances, the histogram, the curves
    stdout = (recipe / "stdout").read_text()
    for number in range(1, 17):
        assert f"stage {number}: " in stdout


def test_results_have_both_models_and_both_test_sets(recipe):
    results = (recipe / "RESULTS.md").read_text()
    for name in ("asr_atm", "scorer_ctc"):
        for test_set in ("test_clean", "test_far"):
            assert re.search(rf"{name}[\s\S]*{test_set}\|", results), (name, test_set)
    assert "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|" in results


def test_scored_sets_have_every_utterance(recipe):
    for name in ("pretrain", "dev"):
        audio = read_scp(recipe / "dump" / "raw" / name / "wav.scp")
        scored = recipe / "exp" / "confidence_ctc" / name
        assert set(read_scp(scored / "confidence.scp")) == set(audio)
        assert all(0 <= float(c) <= 1 for c in read_scp(scored / "utt2conf").values())


def test_second_run_writes_nothing_again(recipe):
    def state():
        return {
            p: (p.stat().st_mtime_ns, p.stat().st_size)
            for p in recipe.rglob("*")
            if p.is_file() and p.suffix in {".pth", ".ark", ".flac", ".zip"}
        }

    before = state()
    again = run(recipe)
    assert again.returncode == 0, again.stderr
    assert state() == before
    assert "exp/ssl_atm: up to date" in again.stdout


def test_interrupted_run_resumes(recipe):
    """SIGKILL in the middle of stage 11; the same command then completes the run."""
    epochs = f"{QUICK} --max_epoch 3"
    options = {"stage": "11", "stop_stage": "11", "ssl_tag": "killed"}
    process = subprocess.Popen(
        recipes.command(**{**OPTIONS, **options, "ssl_args": epochs}),
        cwd=recipe,
        env=recipes.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    exp = recipe / "exp" / "ssl_killed"
    deadline = time.time() + 300
    while not (exp / "1epoch.pth").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (exp / ".made").exists()
    again = run(recipe, stage="11", stop_stage="11", ssl_tag="killed", ssl_args=epochs)
    assert again.returncode == 0, again.stderr
    log = (exp / "train.log").read_text()
    assert "The training was resumed" in log and (exp / "3epoch.pth").exists()


def test_other_options_do_not_mix_into_a_training_run(recipe):
    mixed = run(recipe, stage="11", stop_stage="11", ssl_args=f"{QUICK} --seed 5")
    assert mixed.returncode != 0
    assert "exp/ssl_atm" in mixed.stderr and "--*_tag" in mixed.stderr


def test_own_scorer_replaces_the_recipes(recipe):
    own = run(
        recipe,
        scorer_exp="exp/scorer_ctc",
        inference_scorer_model="2epoch.pth",
        stage="6",
        stop_stage="8",
    )
    assert own.returncode == 0, own.stderr
    assert "Stages 6-7 skipped" in own.stdout
    assert (recipe / "exp/confidence_own_ctc/pretrain/confidence.scp").exists()


def test_other_scorers_need_no_training(recipe):
    """Energy; words of any recogniser; and what is refused."""
    stages = {"stage": "6", "stop_stage": "8"}
    energy = {"scorer": "energy", "scorer_conf": "range_db=40", **stages}
    words = recipe / "words.ctm"
    utts = read_scp(recipe / "dump" / "raw" / "dev" / "wav.scp")
    words.write_text("".join(f"{utt} 1 0.1 0.2 word 0.5\n" for utt in utts))
    ctm = {"scorer": "ctm", "scorer_conf": f"file={words}", "pretrain_set": "dev"}
    for options in (energy, {**ctm, **stages}):
        done = run(recipe, **options)
        name = options["scorer"]
        assert done.returncode == 0, done.stderr
        assert f"Stages 6-7 skipped: the scorer is {name}" in done.stdout
        scored = recipe / "exp" / f"confidence_{name}"
        assert (scored / "dev" / "confidence.scp").exists()
        assert (scored / "report" / "report.json").exists()
    for options, message in (
        ({**energy, "measure": "entropy"}, "no option 'measure'"),
        ({**energy, "scorer_model": "x.pth"}, "by --scorer_conf"),
    ):
        failed = run(recipe, **options)
        assert failed.returncode != 0 and message in failed.stderr


def test_uniform_and_atm_s_by_configuration_alone(recipe):
    """The latter with a split pre-training set."""
    for tag, option, num_splits in (
        ("uniform", "--masking_conf guidance=uniform", "1"),
        ("atm_s", "--model_conf utterance_weight=confidence", "2"),
    ):
        done = run(
            recipe,
            ssl_tag=tag,
            num_splits_ssl=num_splits,
            ssl_args=f"{QUICK} {option}",
            stage="11",
            stop_stage="11",
        )
        assert done.returncode == 0, done.stderr
        assert (recipe / f"exp/ssl_{tag}/config.yaml").exists()


def test_two_machines_by_espnets_launcher(recipe):
    """--num_nodes 2 through slurm.pl and srun, as on a cluster, but for the cluster."""
    cmd = recipe / "cmd.sh"
    original = cmd.read_text()
    recipes.use_cluster(recipe)
    options = {"ssl_tag": "two_machines", "ssl_args": f"{SMALL} --max_epoch 1"}
    try:
        done = run(recipe, stage="11", stop_stage="11", num_nodes="2", **options)
    finally:
        cmd.write_text(original)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (recipe / "exp" / "ssl_two_machines" / "train.log").read_text()
    assert ":0/2]" in log and "1epoch results" in log  # the first of two processes


def test_hubert_in_two_rounds(recipe):
    """Labels from MFCC, a model that predicts them, labels from a layer of it.

    And labels from a layer of the scorer, which needs no first round.
    """
    config = str(ROOT / "conf" / "tiny" / "ssl_hubert_conformer.yaml")
    options = {"num_clusters": "50", "ssl_config": config, "ssl_tag": "hubert"}
    mfcc = {"label_tag": "mfcc", "label_features": "mfcc"}
    first = run(recipe, stage="9", stop_stage="11", **mfcc, **options)
    assert first.returncode == 0, first.stderr
    for tag, model in (("layer3", "ssl_hubert"), ("scorer3", "scorer_ctc")):
        options |= {"label_features": f"exp/{model}", "label_layer": "3"}
        second = run(recipe, stage="9", stop_stage="9", label_tag=tag, **options)
        assert second.returncode == 0, second.stderr
    for tag, stride in (("mfcc", 160), ("layer3", 640), ("scorer3", 640)):
        for name in ("pretrain", "dev"):
            written = recipe / "exp" / f"labels_{tag}" / name
            labelled = set(read_scp(written / "labels.scp"))
            assert labelled == set(read_scp(recipe / f"dump/raw/{name}/wav.scp"))
            assert f'"stride": {stride}' in (written / "grid.json").read_text()
    log = (recipe / "exp" / "ssl_hubert" / "train.log").read_text()
    assert "acc_hubert=" in log and "code_perplexity" not in log


def test_trained_front_end_is_fine_tuned(recipe):
    """wav2vec 2.0 on the waveform: no feature statistics; the CNN is tuned, too."""
    tiny = ROOT / "conf" / "tiny"
    once = f"{SMALL} --max_epoch 1"
    done = run(
        recipe,
        stage="10",
        stop_stage="13",
        ssl_tag="cnn",
        ssl_config=str(tiny / "ssl_wav2vec2_cnn_transformer.yaml"),
        asr_config=str(tiny / "asr_ctc_cnn_transformer.yaml"),
        ssl_args=once,
        asr_args=once,
    )
    assert done.returncode == 0, done.stderr
    assert "matched frontend.layers.0.conv.weight" in done.stdout
    assert not (recipe / "exp" / "ssl_cnn" / "feats_stats.npz").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrian_set": "x"}, "--pretrain_set"),
        ({"stage": "7", "expdir": "elsewhere"}, "run stage 6 first"),
        ({"stage": "11", "ssl_tag": "x", "ssl_args": "--max_epohc 3"}, "max_epohc"),
        ({"stage": "8", "scorer_model": "none.pth"}, "none.pth"),
    ],
)
def test_mistakes_are_explained(recipe, options, message):
    failed = run(recipe, **{"stop_stage": "11", **options})
    assert failed.returncode != 0 and message in failed.stderr


def test_failed_stage_shows_its_log(recipe):
    """The stage that fails says why: the end of the program's log is on stderr."""
    wav = recipe / "dump" / "raw" / "dev" / "wav.scp"
    original = wav.read_text()
    wav.write_text(original.replace(".flac", ".gone"))
    try:
        failed = run(recipe, stage="10", stop_stage="10")
    finally:
        wav.write_text(original)
    assert failed.returncode != 0
    assert (
        "exp/ssl_stats_ssl_w2vbert_conformer_pretrain.log" in failed.stderr
        and ".gone" in failed.stderr
    )


def test_help_lists_every_option():
    recipe = ROOT / "egs2" / "asterisk" / "a2m1"
    shown = subprocess.run(
        ["./run.sh", "--help"], cwd=recipe, capture_output=True, text=True
    )
    assert shown.returncode == 0
    driver = (ROOT / "local" / "a2m.sh").read_text()
    body = driver.split('parse_options "$@"', 1)[1]
    for file in ("steps.sh", "names.sh", "training.sh", "publish.sh", "sweep.sh"):
        body += (ROOT / "local" / file).read_text()
    declared = re.findall(r"^  --(\w+) ", shown.stdout, re.M)
    assert declared
    used = r"\$\{%s[}/:]|skip=%s\b|in_shards %s "
    unused = [x for x in declared if not re.search(used.replace("%s", x), body)]
    # used as ${!args}: {scorer,ssl}_args
    assert set(unused) <= {"scorer_args", "ssl_args"}, unused
    assert "for train_set only [0.9 1.0 1.1]" in shown.stdout  # this recipe's
