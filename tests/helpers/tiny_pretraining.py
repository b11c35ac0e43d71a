"""Pre-training that takes seconds, for tests of what follows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import soundfile

from espnet_a2m.data.tables import write_table

CONF = Path(__file__).resolve().parents[2] / "conf"
SMALL = [
    *("--encoder_conf", "output_size=32"),
    *("--encoder_conf", "linear_units=64"),
    *("--encoder_conf", "num_blocks=4"),
]
QUICK = [
    *("--ngpu", "0", "--num_workers", "0", "--max_epoch", "1"),
    *("--batch_bins", "400000"),
]

# Runs before the code under test: espnet_a2m cannot be imported
WITHOUT_OURS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "espnet_a2m":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
try:
    import espnet_a2m
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("espnet_a2m can be imported")
"""


def make_data(directory: Path, utterances: list[tuple[str, Path, str]]) -> None:
    """A formatted data directory with a token list and shapes."""
    write_table(directory / "wav.scp", {u: path for u, path, _ in utterances})
    write_table(directory / "text", {u: text for u, _, text in utterances})
    characters = sorted({c for _, _, text in utterances for c in text if c != " "})
    tokens = ["<blank>", "<unk>", "<space>", *characters, "<sos/eos>"]
    (directory / "tokens.txt").write_text("".join(f"{t}\n" for t in tokens))
    lengths = {u: soundfile.info(path).frames for u, path, _ in utterances}
    write_table(directory / "speech_shape", lengths)


def data_options(data: Path, *streams: str) -> list[str]:
    """The same data for training and validation: file,name,type of each stream."""
    options = []
    for part in ("train", "valid"):
        for stream in ("wav.scp,speech,sound", *streams):
            path = f"{data}/{stream}"
            options += [f"--{part}_data_path_and_name_and_type", path]
        options += [f"--{part}_shape_file", f"{data}/speech_shape"]
    return options


def asr_options(data: Path, config: str) -> list[str]:
    """Options of ESPnet's ASR task with a configuration of ``conf/tiny``."""
    options = ["--config", str(CONF / "tiny" / config), "--token_type", "char"]
    return [*options, "--token_list", f"{data}/tokens.txt"]


def ssl_options(data: Path, confidence: Path | None, exp: Path, *extra) -> list[str]:
    """Options of a tiny w2v-BERT for two epochs, with the confidences of the data."""
    options = ["--config", str(CONF / "tiny" / "ssl_w2vbert_conformer.yaml")]
    options += data_options(data)
    if confidence is not None:
        for part in ("train", "valid"):
            for stream in (
                f"{confidence}/confidence.scp,confidence,kaldi_ark",
                f"{confidence}/utt2conf,utterance_confidence,text_float",
            ):
                options += [f"--{part}_data_path_and_name_and_type", stream]
        options += ["--confidence_grid", str(confidence / "grid.json")]
    options += ["--normalize", "utterance_mvn", "--output_dir", str(exp)]
    return [*options, *SMALL, *QUICK, "--max_epoch", "2", *map(str, extra)]


def pretrain(data: Path, exp: Path, config: str, *extra: str) -> Path:
    """Collect statistics, train one epoch without guidance; returns the model file."""
    from espnet_a2m.bin.ssl_train import main

    options = ["--config", str(CONF / "tiny" / config), *data_options(data), *QUICK]
    options += ["--masking_conf", "guidance=uniform", *SMALL, *extra]
    if "--normalize" not in extra:
        stats = exp / "stats"
        collect = ["--collect_stats", "true", "--normalize", "none"]
        main([*options, *collect, "--output_dir", str(stats)])
        feats_stats = f"stats_file={stats}/train/feats_stats.npz"
        options += ["--normalize", "global_mvn", "--normalize_conf", feats_stats]
    main([*options, "--output_dir", str(exp)])
    return exp / "1epoch.pth"


def run_without_ours(code: str, cwd: Path, *args: object) -> str:
    """Run Python code in a process in which espnet_a2m does not exist."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OURS + code, *map(str, args)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
