"""Two processes on CPUs (gloo) through ESPnet's trainer: the same as one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kaldiio
import pytest
import soundfile
import torch
import yaml
from helpers.forking import python

from espnet_a2m.data.tables import write_table
from espnet_a2m.training.checkpoint import UPDATE

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "frontend": "wav2vec_cnn",
    "frontend_conf": {
        "norm_mode": "layer_norm",
        "conv_mode": "standard",
        "bias": False,
        "shapes": [[32, 10, 5], [32, 8, 8], [32, 4, 4], [32, 2, 2]],
    },
    "normalize": None,
    "encoder": "transformer",
    "encoder_conf": {
        "output_size": 32,
        "attention_heads": 2,
        "linear_units": 64,
        "num_blocks": 2,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
        "input_layer": "linear",
    },
    "masking_conf": {"guidance": "high"},
    "model_conf": {"utterance_weight": "relative"},
    "quantizer_conf": {
        "num_codebooks": 2,
        "codebook_size": 16,
        "codebook_dim": 32,
        "diversity_weight": 1.0,
        "standardise_input": True,
    },
    "loss": [
        {"name": "contrastive", "conf": {"layer": 1, "num_negatives": 10}},
        {"name": "masked_prediction", "conf": {"layer": 2}},
        {"name": "feature_penalty", "conf": {"weight": 10.0}},
    ],
    # linear in the gradient, so that parameters show what gradients differ by
    "optim": "sgd",
    "optim_conf": {"lr": 0.1},
    "batch_type": "sorted",
    "max_epoch": 1,
    "resume": True,
    "num_workers": 0,
    "use_tensorboard": False,
    "use_matplotlib": False,
    "best_model_criterion": [["train", "loss", "min"]],
}
# what is a mean over masked frames and nothing else
PLAIN = {
    "loss": CONFIG["loss"][:2],
    "quantizer_conf": {**CONFIG["quantizer_conf"], "diversity_weight": 0.0},
    "model_conf": {"utterance_weight": "confidence"},
}


def shipped_config() -> dict:
    """The front end and, smaller and without dropout, the conformer of conf/tiny."""
    path = ROOT / "conf" / "tiny" / "ssl_w2vbert_conformer.yaml"
    shipped = yaml.safe_load(path.read_text())
    small = {"output_size": 32, "attention_heads": 2, "linear_units": 64}
    still = {x: 0.0 for x in CONFIG["encoder_conf"] if x.endswith("dropout_rate")}
    conf = {**shipped["encoder_conf"], **small, **still, "num_blocks": 2}
    parts = {key: shipped[key] for key in ("frontend", "frontend_conf", "encoder")}
    normalize = {"normalize": "utterance_mvn", "loss": CONFIG["loss"][:2]}
    return {**CONFIG, **parts, **normalize, "encoder_conf": conf}


@pytest.fixture(scope="module")
def data(tmp_path_factory, short_utterances) -> Path:
    """Sixteen utterances with confidences, which make ragged batches."""
    from espnet_a2m.confidence.energy import energy_confidence
    from espnet_a2m.core.frames import FrameGrid

    directory = tmp_path_factory.mktemp("data")
    grid = FrameGrid(fs=16000, offset=200, stride=320)
    chosen = short_utterances[:48:3]
    confidences = {}
    for utt_id, path, _ in sorted(chosen):
        speech = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        lengths = torch.tensor([speech.size(1)])
        frames = grid.num_frames(speech.size(1))
        values = energy_confidence(speech, lengths, grid, frames)
        confidences[utt_id] = values[0].numpy()[:, None]
    ark, scp = directory / "confidence.ark", directory / "confidence.scp"
    kaldiio.save_ark(str(ark), confidences, scp=str(scp))
    grid.save(directory / "grid.json")
    write_table(directory / "wav.scp", {u: path for u, path, _ in chosen})
    lengths = {u: soundfile.info(path).frames for u, path, _ in chosen}
    write_table(directory / "shape", lengths)
    (directory / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    (directory / "shipped.yaml").write_text(yaml.safe_dump(shipped_config()))
    (directory / "plain.yaml").write_text(yaml.safe_dump({**CONFIG, **PLAIN}))
    return directory


def options(data: Path, exp: Path, *extra: object) -> list[str]:
    """Options of espnet_a2m.bin.ssl_train on the CPU."""
    command = ["--config", data / "train.yaml", "--ngpu", 0, "--output_dir", exp]
    for part in ("train", "valid"):
        stream = f"--{part}_data_path_and_name_and_type"
        command += [stream, f"{data}/wav.scp,speech,sound"]
        command += [stream, f"{data}/confidence.scp,confidence,kaldi_ark"]
        command += [f"--{part}_shape_file", data / "shape"]
    command += ["--confidence_grid", data / "grid.json", *extra]
    return [str(word) for word in command]


TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc_per_node", "2"),
]


def start(log: Path, *command: object) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with log.open("ab") as f:
        return subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=subprocess.STDOUT,
        )


GLOO = ["--dist_backend", "gloo", "--multiprocessing_distributed", "false"]


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-5000:]


def parameters(exp: Path, epoch: int = 1) -> dict[str, torch.Tensor]:
    return torch.load(exp / f"{epoch}epoch.pth", weights_only=True)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """The same runs by one process (``1_*``) and by two (``2_*``)."""
    output = tmp_path_factory.mktemp("trained")
    cases = {
        "batches": ["--batch_size", "4"],
        "accumulated": ["--batch_size", "4", "--accum_grad", "2"],
        "shipped": ["--batch_size", "4", "--config", data / "shipped.yaml"],
    }
    plain = ["--config", data / "plain.yaml"]
    alone = {
        "plain_one_batch": ["--batch_size", "16", *plain],
        "plain_accumulated": ["--batch_size", "4", "--accum_grad", "4", *plain],
    }
    for processes in (1, 2):
        runs = {**cases, **alone} if processes == 1 else cases
        lines = []
        for name, extra in runs.items():
            command = options(data, output / f"{processes}_{name}", *extra)
            if processes > 1:
                command += [*GLOO, "--dist_init_method", f"file://{output}/init_{name}"]
            lines.append(json.dumps(command))
        cases_file = output / f"{processes}.jsonl"
        cases_file.write_text("\n".join(lines))
        log = output / f"{processes}.log"
        command = python("-m", "helpers.distributed_worker", cases_file)
        if processes > 1:
            command = [*TORCHRUN, "--no-python", *command]
        assert start(log, *command).wait() == 0, tail(log)
    return output


@pytest.mark.parametrize("case", ["batches", "accumulated", "shipped"])
def test_two_processes_equal_one(trained, case):
    """Losses over other frames than masked ones, diversity and relative weights, too;
    subsampling and BatchNorm, whose ragged batches are padded otherwise."""
    one, two = (parameters(trained / f"{n}_{case}") for n in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        # larger than 1: running variances
        atol = 1e-6 * max(1.0, float(one[name].abs().max()))
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=atol)
    # the comparison can fail: another run ends elsewhere
    if case != "shipped":
        other = parameters(trained / "1_plain_one_batch")
        assert any((one[n] - other[n]).abs().max() > 1e-4 for n in one if one[n].dim())
    stats = []
    for n in (1, 2):
        path = trained / f"{n}_{case}" / "checkpoint.pth"
        reporter = torch.load(path, weights_only=False)["reporter"]
        stats.append(reporter["stats"][1]["train"])
    for name in stats[0]:
        if name.startswith(("loss", "acc", "code_", "prob_")):
            assert stats[0][name] == pytest.approx(stats[1][name], abs=1e-5), name


def test_accumulated_batches_equal_one_of_all(trained):
    """Ragged batches with other numbers of masked frames, weighted by these."""
    one, parts = (
        parameters(trained / f"1_plain_{n}") for n in ("one_batch", "accumulated")
    )
    for name in one:
        if name == "num_batches" or name.endswith("usage.counts"):
            continue  # of batches: their number, and counts that decay with each
        torch.testing.assert_close(one[name], parts[name], rtol=0, atol=1e-6)


def interrupt_after_first_save(exp: Path, log: Path, command: list[str]) -> dict:
    """SIGKILL two processes in the first epoch; returns what they had saved.

    An epoch takes a second or so: where the machine is busy it may be over before
    SIGKILL, and then it starts from scratch.
    """
    for _ in range(10):
        process = start(log, *command)
        while not (exp / UPDATE).exists() and process.poll() is None:
            time.sleep(0.005)
        # torchrun gives its processes sessions of their own
        ps = ["ps", "-o", "pid=", "--ppid", str(process.pid)]
        workers = subprocess.run(ps, capture_output=True, text=True).stdout.split()
        process.kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        assert process.wait() <= 0, tail(log)
        if (exp / UPDATE).exists() and not (exp / "1epoch.pth").exists():
            saved = torch.load(exp / UPDATE, weights_only=False)
            if saved["origin"]["epoch"] == 1:
                return saved
        shutil.rmtree(exp, ignore_errors=True)
    pytest.fail(f"the first epoch was over 10 times before SIGKILL: {tail(log)}")


@pytest.mark.slow
def test_interrupted_processes_resume_to_the_same_model(data, tmp_path):
    """The README's command is reproducible, masks of its own on every process."""
    module = ["-m", "espnet_a2m.bin.ssl_train"]
    extra = ["--batch_size", 2, "--max_epoch", 2, "--save_interval_updates", 1, *GLOO]
    full, resumed = tmp_path / "full", tmp_path / "resumed"
    log = tmp_path / "log"
    command = [*TORCHRUN, *module, *options(data, full, *extra)]
    assert start(log, *command).wait() == 0, tail(log)
    command = python(*module, *options(data, resumed, *extra))
    command = [*TORCHRUN, "--no-python", *command]
    saved = interrupt_after_first_save(resumed, log, command)
    one, other = (state["torch"] for state in saved["random_states"])
    assert not torch.equal(one, other)
    assert start(log, *command).wait() == 0, tail(log)
    assert "The training was resumed using" in log.read_text()
    for epoch in (1, 2):
        want, got = parameters(full, epoch), parameters(resumed, epoch)
        assert all(torch.equal(want[name], got[name]) for name in want)
    assert not torch.equal(
        parameters(full, 1)["masking.mask_emb"],
        parameters(full, 2)["masking.mask_emb"],
    )
