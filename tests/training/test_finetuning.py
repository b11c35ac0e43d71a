"""Stock ESPnet fine-tunes three kinds of pre-trained model by --init_param."""

from __future__ import annotations

import importlib.util
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import ROOT, ok, refused, run
from helpers.tiny_pretraining import (
    CONF,
    QUICK,
    SMALL,
    asr_options,
    data_options,
    run_without_ours,
)
from helpers.tiny_pretraining import pretrain as run_pretraining

from espnet_a2m.core.errors import UserError
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.espnet

RNNT_LOSS = ROOT / "espnet_a2m" / "compat" / "rnnt_loss"
PREENCODER = ["--preencoder", "linear", "--preencoder_conf", "output_size=40"]
PARTS = ("frontend", "preencoder", "encoder")
DECODER = [*("--decoder_conf", "linear_units=64"), *("--decoder_conf", "num_blocks=1")]
TRANSDUCER = ["--decoder_conf", "hidden_size=32"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data) -> Path:
    exp = tmp_path_factory.mktemp("ssl")
    return run_pretraining(data, exp, "ssl_w2vbert_conformer.yaml", *PREENCODER)


@pytest.mark.parametrize(
    ("config", "options", "decode", "head"),
    [
        ("asr_ctc_conformer.yaml", [], "decode_ctc.yaml", "ctc."),
        (
            "asr_ctc_attention_conformer.yaml",
            DECODER,
            "decode_ctc_attention.yaml",
            "decoder.decoders.0.",
        ),
        (
            "asr_transducer_conformer.yaml",
            TRANSDUCER,
            "decode_transducer.yaml",
            "joint_network.",
        ),
    ],
)
def test_stock_training_starts_from_the_pretrained(
    config, options, decode, head, data, pretrained, tmp_path, capsys, monkeypatch
):
    from espnet2.bin.asr_inference import main as decode_main
    from espnet2.bin.asr_train import main as train_main

    from espnet_a2m.bin.check_init import main as check_init

    if importlib.util.find_spec("warprnnt_pytorch") is None:
        monkeypatch.syspath_prepend(str(RNNT_LOSS))
    stats = pretrained.parent / "stats" / "train" / "feats_stats.npz"
    model = [*asr_options(data, config), *PREENCODER, *SMALL, *options]
    model += ["--preencoder_conf", "input_size=40"]  # ESPnet's ASR task wants it
    model += ["--normalize", "global_mvn", "--normalize_conf", f"stats_file={stats}"]
    model += ["--init_param", *(f"{pretrained}:{part}:{part}" for part in PARTS)]

    check_init(model)
    printed = capsys.readouterr().out
    assert "matched preencoder.linear_out.weight" in printed
    assert printed.count(" 0 not") == len(PARTS)

    # learning rate 0: what is saved is what training started from
    still = ["--optim_conf", "lr=0.0", "--output_dir", str(tmp_path)]
    train_main([*model, *data_options(data, "text,text,text"), *QUICK, *still])
    before = torch.load(pretrained, weights_only=True)
    after = torch.load(tmp_path / "1epoch.pth", weights_only=True)
    shared = [k for k in after if k.startswith(PARTS) and "running_" not in k]
    shared = [k for k in shared if not k.endswith("num_batches_tracked")]
    assert len(shared) > 100
    assert [k for k in shared if not torch.equal(before[k], after[k])] == []
    assert any(k.startswith(head) for k in after)

    utt_id = next(iter(read_scp(data / "wav.scp")))
    (tmp_path / "keys").write_text(f"{utt_id}\n")
    decoded = tmp_path / "decoded"
    decode_main(
        ["--config", str(CONF / decode), "--ngpu", "0", "--output_dir", str(decoded)]
        + ["--data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"]
        + ["--key_file", str(tmp_path / "keys")]
        + ["--asr_train_config", str(tmp_path / "config.yaml")]
        + ["--asr_model_file", str(tmp_path / "1epoch.pth")]
    )
    hypotheses = read_scp(decoded / "1best_recog" / "text", allow_empty=True)
    assert list(hypotheses) == [utt_id]


def test_transducer_loss_is_the_sum_over_alignments():
    """The loss that stands in for warp-transducer, against a lattice in numpy."""
    spec = importlib.util.spec_from_file_location(
        "rnnt_loss", RNNT_LOSS / "warprnnt_pytorch.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    frames, labels = [6, 4], [[1, 2, 3], [3, 1, 0]]
    num_labels = [3, 2]
    logits = torch.randn(2, 6, 4, 5, requires_grad=True)
    got = module.RNNTLoss(blank=0, fastemit_lambda=0.0)(
        logits, torch.tensor(labels), torch.tensor(frames), torch.tensor(num_labels)
    )
    log_p = logits.detach().log_softmax(-1).double().numpy()
    losses = []
    for b, (num_frames, count) in enumerate(zip(frames, num_labels, strict=True)):
        alpha = np.full((num_frames, count + 1), -np.inf)
        alpha[0, 0] = 0.0
        for t in range(num_frames):
            for u in range(count + 1):
                if t:
                    stay = alpha[t - 1, u] + log_p[b, t - 1, u, 0]
                    alpha[t, u] = np.logaddexp(alpha[t, u], stay)
                if u:
                    emit = alpha[t, u - 1] + log_p[b, t, u - 1, labels[b][u - 1]]
                    alpha[t, u] = np.logaddexp(alpha[t, u], emit)
        losses.append(-(alpha[-1, -1] + log_p[b, num_frames - 1, count, 0]))
    assert float(got) == pytest.approx(np.mean(losses), rel=1e-5)
    got.backward()
    assert logits.grad[1, 4:].abs().max() == 0  # nothing from the padding
    with pytest.raises(ValueError, match="FastEmit"):
        module.RNNTLoss(fastemit_lambda=0.1)


def test_configuration_may_give_the_preencoders_input_size(tmp_path):
    from espnet_a2m.training.validate_config import check_config

    config = tmp_path / "asr.yaml"
    config.write_text("preencoder: linear\npreencoder_conf: {input_size: 40}\n")
    check_config(config, "asr")


def test_check_init_passes_parts_without_parameters(data, tmp_path, capsys):
    from espnet_a2m.bin.check_init import main

    empty = tmp_path / "empty.pth"
    torch.save({}, empty)
    options = ["--token_list", f"{data}/tokens.txt", "--frontend", "sliding_window"]
    options += ["--preencoder", "sinc", "--normalize", "none", "--encoder", "conformer"]
    options += [*SMALL, "--encoder_conf", "input_layer=linear"]
    options += ["--model_conf", "{'ctc_weight': 1.0, 'report_cer': False}"]
    options += ["--model_conf", "report_wer=false"]
    options += ["--init_param", f"{empty}:frontend:frontend"]
    main(options)
    assert "frontend has no parameters" in capsys.readouterr().out


# --- Packing and upload -----------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory, data, pretrained) -> Path:
    """A recogniser on word pieces, packed; the paths in its configuration are absolute,
    and what they name is gone afterwards."""
    from espnet2.bin.asr_train import main

    directory = tmp_path_factory.mktemp("asr")
    pieces = ["--token_type", "bpe", "--nbpe", 40, "--outdir", directory / "bpe"]
    ok("data token_list", *pieces, "--text", data / "text")
    stats = pretrained.parent / "stats" / "train" / "feats_stats.npz"
    (directory / "stats.npz").write_bytes(stats.read_bytes())
    options = [*asr_options(data, "asr_ctc_conformer.yaml"), *SMALL, *QUICK]
    options += ["--token_type", "bpe", "--bpemodel", str(directory / "bpe/bpe.model")]
    options += ["--token_list", str(directory / "bpe/tokens.txt")]
    options += ["--normalize", "global_mvn", "--normalize_conf"]
    options += [f"stats_file={directory / 'stats.npz'}"]
    exp = directory / "exp"
    main([*options, *data_options(data, "text,text,text"), "--output_dir", str(exp)])
    (directory / "RESULTS.md").write_text("## Error rates\n")
    archive = exp / "atm.zip"
    command = ["asr", "--config", exp / "config.yaml", "--outpath", archive]
    command += ["--model_file", exp / "1epoch.pth"]
    command += ["--inference_config", CONF / "decode_ctc.yaml"]
    ok("pack", *command, cwd=directory)
    for path in ("stats.npz", "bpe/bpe.model", "bpe/tokens.txt", "exp/1epoch.pth"):
        (directory / path).unlink()
    assert "stats.npz" in refused("pack", *command, cwd=directory)
    assert archive.exists()
    return archive


def test_packed_model_recognises_in_three_lines(packed, data, tmp_path):
    page = (ROOT / "docs" / "finetuning.md").read_text()
    lines = re.search(r"```python\n(from espnet2.bin.asr_inf.*?)```", page, re.S)[1]
    assert len([line for line in lines.splitlines() if line]) == 3
    use = re.search(r"`(text = speech2text\(speech\).*?)`", page)[1]
    (tmp_path / "atm.zip").write_bytes(packed.read_bytes())
    speech = next(iter(read_scp(data / "wav.scp").values()))
    code = f"{lines}\nimport soundfile\nspeech = soundfile.read({speech!r})[0]\n{use}\n"
    code += "print('recognised', type(text).__name__)"
    assert "recognised str" in run_without_ours(code, tmp_path)


def test_a_folder_to_upload_is_complete(tmp_path, monkeypatch):
    """What cannot be unpacked to its end leaves the folder as it was."""
    upload_hf = importlib.import_module("espnet_a2m.publish.upload_hf")
    archive, out = tmp_path / "atm.zip", tmp_path / "hf"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("README.md", 'from_pretrained("user/name")')
        opened.writestr("exp/model.pth", b"parameters")
    upload_hf.extract(archive, out, "me/atm")
    before = sorted(out.rglob("*"))
    assert (out / "README.md").read_text() == 'from_pretrained("me/atm")'
    complete = archive.read_bytes()
    archive.write_bytes(complete.replace(b"parameters", b"parametres"))
    with pytest.raises(zipfile.BadZipFile):
        upload_hf.extract(archive, out, "you/atm")
    assert sorted(out.rglob("*")) == before
    assert (out / "README.md").read_text() == 'from_pretrained("me/atm")'
    archive.write_bytes(complete)
    upload_hf.extract(archive, out, "you/atm")
    assert (out / "README.md").read_text() == 'from_pretrained("you/atm")'
    assert sorted(tmp_path.iterdir()) == [archive, out]
    (out / "README.md").rename(out / "mine")
    with pytest.raises(UserError, match="name another folder"):
        upload_hf.extract(archive, out, "you/atm")
    assert (out / "mine").exists()


def test_upload_is_prepared_and_explains_what_is_missing(packed, tmp_path):
    env = {"HF_HOME": str(tmp_path), "HF_TOKEN": "", "HF_HUB_OFFLINE": "1"}
    out = tmp_path / "hf"

    def upload(repo="user/atm", archive=packed, **more):
        options = ("--archive", archive, "--repo", repo, "--outdir", out)
        return run("upload_hf", *options, cwd=tmp_path, **{**env, **more})

    for repo in ("", "atm", "a/b/c", "user/a b"):
        failed = upload(repo)
        assert failed.returncode == 1 and "--hf_repo" in failed.stderr, failed.stderr
    failed = upload(archive=tmp_path / "none.zip")
    assert failed.returncode == 1 and "bin.pack" in failed.stderr
    assert not out.exists()

    failed = upload()
    assert failed.returncode == 1 and "hf auth login" in failed.stderr
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    inside = ("config.yaml", "model.pth", "stats.npz", "bpe.model")
    assert names == {
        *("meta.yaml", "README.md", "RESULTS.md"),
        *(f"exp/{name}" for name in inside),
    }
    # with a slash: espnet_model_zoo takes anything else for no path
    config = yaml.safe_load((out / "exp" / "config.yaml").read_text())
    assert config["normalize_conf"]["stats_file"] == "exp/stats.npz"
    assert config["bpemodel"] == "exp/bpe.model"
    card = (out / "README.md").read_text()
    assert card.startswith("---\ntags:") and "## Error rates" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "espnet"
    assert 'from_pretrained("user/atm", **options)' in card
    meta = yaml.safe_load((out / "meta.yaml").read_text())
    assert meta["files"] == {"asr_model_file": "exp/model.pth"}
    with zipfile.ZipFile(packed) as archive:
        assert set(archive.namelist()) == names

    failed = upload(HF_TOKEN="hf_none")  # as far as the network
    assert failed.returncode == 1 and "offline" in failed.stderr.lower()
    assert "Traceback" not in failed.stderr
