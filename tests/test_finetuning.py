"""Stock ESPnet fine-tunes from a pre-training by --init_param: three kinds of model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pretraining import CONF, QUICK, SMALL, asr_options, data_options, make_data
from tiny_pretraining import pretrain as run_pretraining

from espnet_a2m.kaldi_table import read_scp

ROOT = Path(__file__).resolve().parent.parent
RNNT_LOSS = ROOT / "local" / "rnnt_loss"
PREENCODER = ["--preencoder", "linear", "--preencoder_conf", "output_size=40"]
PARTS = ("frontend", "preencoder", "encoder")
DECODER = [*("--decoder_conf", "linear_units=64"), *("--decoder_conf", "num_blocks=1")]
TRANSDUCER = ["--decoder_conf", "hidden_size=32"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, short_utterances) -> Path:
    directory = tmp_path_factory.mktemp("data")
    make_data(directory, short_utterances[:12])
    return directory


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
    model += ["--preencoder_conf", "input_size=80"]  # ESPnet's ASR task wants it
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
