"""A pre-training of seconds, through the command line, for tests of what follows it."""

from __future__ import annotations

from pathlib import Path

import soundfile

from espnet_a2m.kaldi_table import write_table

CONF = Path(__file__).resolve().parent.parent / "conf"
SMALL = [
    *("--encoder_conf", "output_size=32"),
    *("--encoder_conf", "linear_units=64"),
    *("--encoder_conf", "num_blocks=4"),
]
QUICK = ["--ngpu", "0", "--num_workers", "0", "--max_epoch", "1"]


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
    """Options of ESPnet's ASR task for a configuration of ``conf/tiny``."""
    options = ["--config", str(CONF / "tiny" / config), "--token_type", "char"]
    return [*options, "--token_list", f"{data}/tokens.txt"]


def pretrain(data: Path, exp: Path, config: str, *extra: str) -> Path:
    """Statistics and one epoch without guidance; returns the model's path."""
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
