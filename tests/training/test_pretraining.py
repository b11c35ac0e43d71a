"""Pre-training and initialisation through the command lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers.forking import Process, python
from helpers.tiny_pretraining import SMALL, ssl_options

from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.training.checkpoint import BACKUP, CHECKPOINT

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf" / "tiny"


def pretrain(data, confidence, exp, *extra) -> dict:
    """Train in this process; the reporter's statistics of the last epoch."""
    from espnet_a2m.bin.ssl_train import main

    main(ssl_options(data, confidence, exp, *extra))
    reporter = torch.load(exp / CHECKPOINT, weights_only=False)["reporter"]
    return reporter["stats"][reporter["epoch"]]


# --- Pre-training ---------------------------------------------------------------


def test_atm_reports_what_a_researcher_watches(data, confidence, tmp_path):
    stats = pretrain(data, confidence, tmp_path / "atm")
    train = stats["train"]
    assert train["masked_fraction"] == pytest.approx(0.4, abs=0.01)
    assert 0 < train["confidence_all"] < 1 and 0 < train["confidence_masked"] < 1
    for name in (
        *("loss", "loss_contrastive", "loss_masked_prediction", "loss_diversity"),
        *("acc_contrastive", "acc_masked_prediction", "majority_masked_prediction"),
        *("code_perplexity", "prob_perplexity", "grad_norm", "audio_per_sec"),
    ):
        assert np.isfinite(train[name]), name
    assert 1 <= train["code_perplexity"] <= 256
    assert stats["valid"]["masked_fraction"] == pytest.approx(0.4, abs=0.01)
    config = yaml.safe_load((tmp_path / "atm" / "config.yaml").read_text())
    assert config["confidence_grid"] == {"fs": 16000, "offset": 480.0, "stride": 640}


def test_validation_draws_the_same_masks_after_every_epoch(data, confidence, tmp_path):
    from espnet_a2m.bin.ssl_train import main

    main(ssl_options(data, confidence, tmp_path, "--max_epoch", "3"))
    stats = torch.load(tmp_path / CHECKPOINT, weights_only=False)["reporter"]["stats"]
    masked = {
        part: {stats[epoch][part]["confidence_masked"] for epoch in (1, 2, 3)}
        for part in ("train", "valid")
    }
    assert len(masked["valid"]) == 1 and len(masked["train"]) == 3
    # at most the entropy of 256 codes, and no less than a confident wrong answer
    assert -9 < stats[3]["valid"]["nats_gained_masked_prediction"] < np.log(256)


def test_atm_s_scales_by_utterance_confidence(data, confidence, tmp_path):
    stats = pretrain(
        *(data, confidence, tmp_path), "--model_conf", "utterance_weight=confidence"
    )
    mean = np.mean([float(c) for c in read_scp(confidence / "utt2conf").values()])
    assert stats["train"]["utterance_weight"] == pytest.approx(mean, abs=0.05)


def test_hubert_learns_the_labels_of_stage_9(data, confidence, tmp_path, capsys):
    from espnet_a2m.bin.labels import main

    labels = tmp_path / "labels"
    main(
        ["--fit_data", str(data), "--data", str(data), "--output_dir", str(labels)]
        + ["--num_clusters", "20"]
    )
    written = labels / data.name
    streams = ["--label_grid", written / "grid.json"]
    for part in ("train", "valid"):
        stream = f"{written}/labels.scp,labels,kaldi_ark"
        streams += [f"--{part}_data_path_and_name_and_type", stream]
    published = (CONF / "ssl_hubert_conformer.yaml").read_text()

    def config(classes: int) -> tuple[str, Path]:
        path = tmp_path / f"{classes}.yaml"
        path.write_text(published.replace("classes: 50", f"classes: {classes}"))
        return "--config", path

    stats = pretrain(data, confidence, tmp_path / "hubert", *config(20), *streams)
    assert np.isfinite(stats["train"]["loss_hubert"])
    assert 0 < stats["train"]["majority_hubert"] < 1
    assert "code_perplexity" not in stats["train"]  # no quantiser, no dead parameters
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, confidence, tmp_path / "many", *config(30), *streams)
    said = capsys.readouterr().err + str(error.value)
    assert "labels of 20 classes" in said and "--num_clusters 30" in said
    (written / "labels.json").unlink()  # as of another program
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, confidence, tmp_path / "few", *config(5), *streams)
    said = capsys.readouterr().err + str(error.value)
    assert "num_classes: 5" in said and "utterance " in said
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, confidence, tmp_path / "without", *config(20))
    assert "bin.labels" in capsys.readouterr().err + str(error.value)


def test_online_scoring_trains_like_stored_confidences(
    data, scorer, confidence, tmp_path
):
    online = ("--online_scorer_conf", f"model_file={scorer / '1epoch.pth'}")
    stats = pretrain(data, None, tmp_path / "online", *online)
    stored = pretrain(data, confidence, tmp_path / "stored")
    for name in ("confidence_all", "confidence_masked", "loss"):
        assert stats["train"][name] == pytest.approx(stored["train"][name], rel=5e-3)
    state = torch.load(tmp_path / "online" / "2epoch.pth", weights_only=True)
    assert not any("scorer" in key for key in state)
    with pytest.raises((SystemExit, ValueError), match="give one of them"):
        pretrain(data, confidence, tmp_path / "both", *online)


def test_online_energy_trains_like_stored_energy(data, tmp_path):
    """Another scorer online, on utterances and on crops, by the command lines."""
    from espnet_a2m.bin.score import main

    main(["--data", str(data), "--output_dir", str(tmp_path), "--scorer", "energy"])
    want = pretrain(data, tmp_path, tmp_path / "stored")
    online = ("--online_scorer_conf", "scorer=energy")
    stats = pretrain(data, None, tmp_path / "online", *online)
    for name in ("confidence_all", "confidence_masked", "loss"):
        assert stats["train"][name] == pytest.approx(want["train"][name], rel=5e-3)
    crop = ("--collate_fn_conf", "crop_duration=1.5")
    stats = pretrain(data, None, tmp_path / "crops", *online, *crop)
    assert np.isfinite(stats["train"]["loss"])
    assert stats["train"]["confidence_masked"] > stats["train"]["confidence_all"]


def test_guidance_and_weight_reach_the_loss(short_utterances):
    """Built by the task: masks go where confidence is, losses scale with s_u."""
    from espnet_a2m.training.task import A2MTask

    options = ["--config", str(CONF / "ssl_w2vbert_conformer.yaml"), *SMALL]
    options += ["--normalize", "utterance_mvn", "--output_dir", "unused"]
    audio = [soundfile.read(p, dtype="float32")[0] for _, p, _ in short_utterances[:4]]
    lengths = torch.tensor([len(x) for x in audio])
    speech = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(x) for x in audio], batch_first=True
    )

    def step(confidence, *extra, draws=1):
        args = A2MTask.get_parser().parse_args([*options, *extra])
        args.confidence_grid = {"fs": 16000, "offset": 480.0, "stride": 640}
        torch.manual_seed(0)
        model = A2MTask.build_model(args).eval()
        frames = torch.full((4,), confidence.size(1))
        torch.manual_seed(1)
        streams = {"confidence": confidence, "confidence_lengths": frames}
        with torch.no_grad():
            steps = [model(speech, lengths, **streams) for _ in range(draws)]
        return {k: np.mean([stats[k] for _, stats, _ in steps]) for k in steps[0][1]}

    frames = int(lengths.max()) // 640
    confident = torch.where(torch.arange(frames) < frames // 2, 0.9, 0.05).repeat(4, 1)
    high = step(confident, draws=30)
    uniform = step(confident, "--masking_conf", "guidance=uniform", draws=30)
    assert high["confidence_masked"] > high["confidence_all"] + 0.1
    assert abs(uniform["confidence_masked"] - uniform["confidence_all"]) < 0.05
    most, least = "masked_most_confident", "masked_least_confident"
    assert high[most] > 1.5 * high[least]
    assert uniform[most] == pytest.approx(uniform[least], rel=0.3)

    half = torch.full((4, frames), 0.5)
    atm = step(half)
    atm_s = step(half, "--model_conf", "utterance_weight=confidence")
    for name in ("loss_contrastive", "loss_masked_prediction"):
        assert atm_s[name] == pytest.approx(0.5 * atm[name], rel=1e-5)
    assert atm_s["loss_diversity"] == atm["loss_diversity"]


def test_guidance_of_the_users_own_in_a_configuration(
    data, confidence, tmp_path, monkeypatch
):
    (tmp_path / "hard_frames.py").write_text(
        "def lowest(confidence, lengths, options):\n    return [(-confidence, 1.0)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = (CONF / "ssl_w2vbert_conformer.yaml").read_text()
    own = config.replace("guidance: high", "guidance: hard_frames:lowest")
    assert own != config
    (tmp_path / "own.yaml").write_text(own)
    options = ("--config", tmp_path / "own.yaml", "--max_epoch", "1")
    train = pretrain(data, confidence, tmp_path / "exp", *options)["train"]
    assert train["masked_fraction"] == pytest.approx(0.4, abs=0.01)
    assert train["confidence_masked"] < train["confidence_all"]


def test_missing_stream_is_refused(data, confidence, tmp_path, capsys):
    """A grid alone is not enough: guidance would silently be off."""
    options = ssl_options(data, None, tmp_path)
    from espnet_a2m.bin.ssl_train import main

    with pytest.raises(SystemExit):
        main([*options, "--confidence_grid", str(confidence / "grid.json")])
    assert "no stream named confidence" in capsys.readouterr().err


def test_uniform_needs_no_confidences_and_ignores_them(data, confidence, tmp_path):
    uniform = ("--masking_conf", "guidance=uniform")
    without = pretrain(data, None, tmp_path / "without", *uniform)
    with_them = pretrain(data, confidence, tmp_path / "with", *uniform)
    assert without["train"]["loss"] == with_them["train"]["loss"]
    models = [
        torch.load(tmp_path / name / "2epoch.pth", weights_only=True)
        for name in ("without", "with")
    ]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_print_config_and_unknown_options(tmp_path):
    command = python("-m", "espnet_a2m.bin.ssl_train", "--print_config")
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    config = yaml.safe_load(printed.stdout)
    assert printed.returncode == 0 and "masking_conf" in config
    assert "token_list" not in config
    # what is printed can be used: nothing in it is the task's own business
    from espnet_a2m.training.task import A2MTask

    args = A2MTask.get_parser().parse_args(["--output_dir", "unused"])
    for name in ("masking_conf", "model_conf", "quantizer_conf", "frontend_conf"):
        setattr(args, name, config[name])
    args.masking_conf["guidance"] = "uniform"
    assert A2MTask.build_model(args).masking.guidance == "uniform"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--masking_conf", "mask_lenght=10"], "mask_length"),
        (["--masking_conf", "guidance=hihg"], "uniform, high"),
        (["--masking_conf", "guidance=energy"], "--scorer energy"),
        (["--masking_conf", "mask_selection=static"], "no option 'mask_selection'"),
        (["--encoder_conf", "atention_heads=2"], "attention_heads"),
        (["--model_conf", "utterance_weight=s_u"], "none, confidence, relative"),
        (
            [
                "--quantizer_conf",
                "codebook_dim=31",
                "--quantizer_conf",
                "num_codebooks=2",
            ],
            "31",
        ),
        (
            ["--encoder", "transformer", "--encoder_conf", "input_layer=null"],
            "input_layer",
        ),
        (["--collate_fn_conf", "crop_duratoin=3"], "crop_duration"),
        (["--encoder_conf", "layer_drop_rate=0.1"], "layer_drop_rate"),
    ],
)
def test_bad_options_are_explained(
    options, message, data, confidence, tmp_path, capsys
):
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, confidence, tmp_path, *options)
    assert message in capsys.readouterr().err + str(error.value)


def test_guidance_without_confidences_is_refused(data, tmp_path, capsys):
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, None, tmp_path)
    assert "confidence_grid" in capsys.readouterr().err + str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: None, "1 of 24 utterances of"),
        (lambda c: c * np.nan, "NaN"),
        (lambda c: c + 1.5, "outside [0, 1]"),
        (lambda c: c[:-3], " samples make "),
    ],
)
def test_bad_confidences_are_named(damage, message, data, confidence, tmp_path, capsys):
    scp = read_scp(confidence / "confidence.scp")
    victim = list(scp)[7]
    damaged = damage(kaldiio.load_mat(scp[victim]))
    if damaged is None:
        del scp[victim]
    else:
        kaldiio.save_ark(str(tmp_path / "bad.ark"), {victim: damaged.astype("f")})
        scp[victim] = f"{tmp_path}/bad.ark:{len(victim) + 1}"
    bad = tmp_path / "bad"
    write_table(bad / "confidence.scp", scp)
    for name in ("grid.json", "utt2conf"):
        (bad / name).write_text((confidence / name).read_text())
    with pytest.raises((SystemExit, ValueError)) as error:
        pretrain(data, bad, tmp_path / "exp")
    text = capsys.readouterr().err + str(error.value)
    assert victim in text and message in text and "confidence.scp" in text


def start(options) -> Process:
    with open(os.devnull, "w+") as nothing:
        words = ["espnet_a2m.bin.ssl_train", *options]
        return Process(words, cwd=ROOT, files=[nothing] * 3)


@pytest.mark.slow
def test_interrupted_run_resumes_to_the_same_model(data, confidence, tmp_path):
    epochs = ("--max_epoch", "4", "--num_workers", "1")
    reference_options = ssl_options(data, confidence, tmp_path / "reference", *epochs)
    assert start(reference_options).wait() == 0
    exp = tmp_path / "interrupted"
    options = ssl_options(data, confidence, exp, *epochs)
    process = start(options)
    deadline = time.time() + 300
    while not (exp / "2epoch.pth").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # an interruption while it is saved leaves a part of the checkpoint
    checkpoint = exp / CHECKPOINT
    assert (exp / BACKUP).exists()
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    assert start(options).wait() == 0
    reference, resumed = (
        torch.load(d / "4epoch.pth", weights_only=True)
        for d in (tmp_path / "reference", exp)
    )
    assert all(torch.equal(reference[key], resumed[key]) for key in reference)
    names = [
        sorted(re.sub(r"\d+epoch", "Nepoch", p.name) for p in d.glob("*.pth"))
        for d in (tmp_path / "reference", exp)
    ]
    assert names[0] == names[1]


def test_a_complete_run_is_prolonged_to_the_same_model(data, confidence, tmp_path):
    """To that of one run of three epochs; the best models are those of all epochs."""
    short = ("--batch_bins", "300000", "--keep_nbest_models", "3", "--resume", "true")
    for exp, *runs in (("once", 3), ("prolonged", 2, 3)):
        for epochs in runs:
            pretrain(data, confidence, tmp_path / exp, *short, "--max_epoch", epochs)
    once, prolonged = (
        torch.load(tmp_path / exp / "3epoch.pth", weights_only=True)
        for exp in ("once", "prolonged")
    )
    assert all(torch.equal(once[key], prolonged[key]) for key in once)
    names = [
        sorted(path.name for path in (tmp_path / exp).glob("*.pth"))
        for exp in ("once", "prolonged")
    ]
    assert set(names[0]) <= set(names[1])  # and the average of two epochs


# --- Initialising a stock ASR model ---------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data, confidence) -> Path:
    exp = tmp_path_factory.mktemp("ssl")
    pretrain(data, confidence, exp)
    return exp / "2epoch.pth"


def check_init(data, *options):
    from espnet_a2m.bin.check_init import main

    main(
        ["--config", str(CONF / "asr_ctc_conformer.yaml"), "--token_type", "char"]
        + ["--token_list", str(data / "tokens.txt"), "--normalize", "utterance_mvn"]
        + [*SMALL, *options]
    )


def test_init_param_fills_a_stock_asr_model(data, pretrained, capsys):
    from espnet2.tasks.asr import ASRTask
    from espnet2.torch_utils.load_pretrained_model import load_pretrained_model

    init = [f"{pretrained}:frontend:frontend", f"{pretrained}:encoder:encoder"]
    check_init(data, "--init_param", *init)
    printed = capsys.readouterr().out
    assert "matched encoder.encoders.3." in printed and "0 not" in printed

    options = ["--config", str(CONF / "asr_ctc_conformer.yaml"), "--token_type", "char"]
    options += ["--token_list", str(data / "tokens.txt"), "--output_dir", "unused"]
    args = ASRTask.get_parser().parse_args(
        [*options, "--normalize", "utterance_mvn", *SMALL]
    )
    model = ASRTask.build_model(args)
    for param in init:
        load_pretrained_model(param, model, ignore_init_mismatch=False)
    state = torch.load(pretrained, weights_only=True)
    encoder = {k: v for k, v in model.state_dict().items() if k.startswith("encoder.")}
    assert len(encoder) > 50
    assert all(torch.equal(v, state[k]) for k, v in encoder.items())


@pytest.mark.parametrize(
    ("param", "options", "message"),
    [
        (":encodre:encoder", [], "stay random"),
        (":encoder:encoder", ["--encoder_conf", "output_size=48"], "same"),
        (":encoder:encoder", ["--encoder_conf", "num_blocks=5"], "encoders.4"),
    ],
)
def test_init_param_that_does_not_match_is_refused(
    param, options, message, data, pretrained, capsys
):
    with pytest.raises(SystemExit):
        check_init(data, *options, "--init_param", f"{pretrained}{param}")
    assert message in capsys.readouterr().err
