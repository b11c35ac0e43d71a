"""Pre-training that continues from a model of ours or of ESPnet's own SSL task."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import espnet2
import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny_pretraining import CONF, QUICK, SMALL, data_options, pretrain

from espnet_a2m.bin.check_recipe import main as check_recipe
from espnet_a2m.bin.ssl_train import main
from espnet_a2m.core.config import load_config
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.labels.layer import LayerFeatures
from espnet_a2m.publish.export import export, our_layers
from espnet_a2m.training.continue_from import start_from
from espnet_a2m.training.task import A2MTask

pytestmark = pytest.mark.espnet

BEST_RQ = str(CONF / "tiny" / "ssl_bestrq_conformer.yaml")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data) -> Path:
    """A model with statistics of its own pool, as a recipe leaves it in ``exp``."""
    exp = tmp_path_factory.mktemp("exp") / "ssl_first"
    model = pretrain(data, exp, "ssl_bestrq_conformer.yaml")
    return model


@pytest.fixture(scope="module")
def pool(tmp_path_factory, data) -> Path:
    """Other audio than the model was trained on: a third of it."""
    directory = tmp_path_factory.mktemp("pool")
    wavs = read_scp(data / "wav.scp")
    few = list(wavs)[::3]
    lengths = read_scp(data / "speech_shape")
    write_table(directory / "wav.scp", {u: wavs[u] for u in few})
    write_table(directory / "speech_shape", {u: lengths[u] for u in few})
    return directory


def train(pool: Path, exp: Path, *options: object) -> dict[str, torch.Tensor]:
    """Parameters after an epoch without a learning rate: those that it began with."""
    words = ["--config", BEST_RQ, *data_options(pool), *SMALL, *QUICK]
    words += ["--masking_conf", "guidance=uniform", "--output_dir", exp]
    words += ["--optim_conf", "lr=0.0", *options]
    main([str(word) for word in words])
    return torch.load(exp / "1epoch.pth", weights_only=True)


def test_it_begins_with_parameters_and_statistics_of_the_first_run(
    data, pool, pretrained, tmp_path, capsys
):
    first = torch.load(pretrained, weights_only=True)
    # what ESPnet would normalise with: statistics of the new pool
    begun = train(pool, tmp_path / "second", "--ssl_init", pretrained)
    assert begun.keys() == first.keys()
    different = {k for k in first if not torch.equal(begun[k], first[k])}
    learnt = {k for k in first if k.startswith(("encoder.", "losses.", "masking."))}
    assert len(learnt) > 100
    counters = {k for k in first if k.endswith(("num_batches", "num_batches_tracked"))}
    moving = {k for k in first if "running_" in k or k.endswith("counts")}
    assert different <= counters | moving
    stats = [
        np.load(p)
        for p in (
            tmp_path / "second" / "feats_stats.npz",
            pretrained.parent / "stats" / "train" / "feats_stats.npz",
        )
    ]
    assert all(np.array_equal(stats[0][k], stats[1][k]) for k in ("count", "sum"))
    saved = load_config(tmp_path / "second" / "config.yaml")
    assert saved["normalize_conf"]["stats_file"] == str(
        tmp_path / "second" / "feats_stats.npz"
    )
    said = capsys.readouterr().out
    assert "parameters of frontend, encoder, losses are taken over" in said
    assert "from scratch" not in said


def check(model: Path, *options: str, config: str = BEST_RQ) -> None:
    """What the driver runs before its first stage."""
    check_recipe([f"--ssl_config={config}", f"--ssl_init={model}", *options])


def refused(capsys, model: Path, *options: str, config: str = BEST_RQ) -> str:
    with pytest.raises(SystemExit):
        check(model, *options, config=config)
    return capsys.readouterr().err


def test_what_does_not_fit_stops_the_recipe(pretrained, tmp_path, capsys):
    small = "--ssl_args=" + " ".join(SMALL)
    check(pretrained, small)
    assert "encoder, losses are taken over, and" in capsys.readouterr().out
    # other objectives: the encoder and the mask vector alone
    w2vbert = str(CONF / "tiny" / "ssl_w2vbert_conformer.yaml")
    check(pretrained, small, config=w2vbert)
    said = capsys.readouterr().out
    assert "frontend, encoder are taken over, and the statistics" in said
    assert said.endswith("; masking, quantizer, losses start from scratch\n")

    said = refused(capsys, pretrained)  # all differences at once
    where = pretrained.parent / "config.yaml"
    for option, ours, theirs in (("output_size", 96, 32), ("linear_units", 384, 64)):
        assert f"encoder_conf.{option} is {ours}, but {theirs} in {where}" in said
    assert "--ssl_init continues from that encoder" in said

    moved = tmp_path / "moved"
    moved.mkdir()
    state = torch.load(pretrained, weights_only=True)
    config = (pretrained.parent / "config.yaml").read_text()
    stats = str(pretrained.parent / "stats" / "train")
    (moved / "config.yaml").write_text(config.replace(stats, "/gone"))
    torch.save(state, moved / "model.pth")
    said = refused(capsys, moved / "model.pth", small)
    assert "/gone/feats_stats.npz: no such file" in said and "beside config" in said
    arrays = dict(np.load(f"{stats}/feats_stats.npz"))
    np.savez(moved / "feats_stats.npz", **{**arrays, "sum": arrays["sum"] + 100})
    said = refused(capsys, moved / "model.pth", small)
    assert "feats_stats.npz: not the statistics that" in said
    shutil.copy(f"{stats}/feats_stats.npz", moved)
    check(moved / "model.pth", small)

    exported = export(pretrained, tmp_path / "export")  # with the names of 202511
    if espnet2.__version__ == "202511":
        check(exported, small)
        assert "encoder are taken over, and the stat" in capsys.readouterr().out
    else:
        assert "embed.out" in refused(capsys, exported, small)

    # a parameter of another name, as another release of ESPnet has it
    renamed = "encoder.encoders.0.feed_forward.w_1.weight"
    state["encoder.embed.other"] = state.pop(renamed)
    torch.save(state, moved / "model.pth")
    said = refused(capsys, moved / "model.pth", small)
    assert f"{renamed} would stay random" in said
    assert "encoder.embed.other of the file be left over" in said
    torch.save({"model": state, "reporter": argparse.Namespace()}, moved / "model.pth")
    assert "parameters alone" in refused(capsys, moved / "model.pth", small)
    (moved / "model.pth").unlink()
    assert "model.pth: no such file" in refused(capsys, moved / "model.pth", small)
    (moved / "config.yaml").rename(moved / "config.json")
    assert "model of transformers" in refused(capsys, moved, small)


#: What ESPnet's own recipes pre-train: options of its task, and as ours are without
STOCK = {
    ("transformer", "ssl_wav2vec2_cnn_transformer.yaml"): (
        ["--preencoder", "linear", "--preencoder_conf", "output_size=96"]
        + ["--encoder_conf", "input_layer=wav2vec"]
        + ["--encoder_conf", "pos_enc_layer_type=conv"]
    ),
    ("conformer", "ssl_hubert_conformer.yaml"): ["--normalize", "utterance_mvn"],
    ("e_branchformer", "ssl_hubert_conformer.yaml"): ["--normalize", "utterance_mvn"],
}


@pytest.mark.parametrize(("encoder", "name"), STOCK)
def test_it_continues_from_espnets_own_task(
    encoder, name, tmp_path, short_utterances, capsys
):
    """Front end and encoder; and a layer of that model, for labels."""
    from espnet2.tasks.ssl import SSLTask
    from espnet2.torch_utils.load_pretrained_model import load_pretrained_model
    from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

    options = A2MTask.get_parser().parse_args(
        ["--config", str(CONF / "tiny" / name), *STOCK[encoder, name], "--ssl_init"]
        + [str(tmp_path / "valid.loss.ave.pth"), "--output_dir", str(tmp_path / "exp")]
        + ["--masking_conf", "guidance=uniform"]
    )
    if encoder == "e_branchformer":
        options.encoder, sizes = encoder, ("output_size", "num_blocks", "linear_units")
        options.encoder_conf = {size: options.encoder_conf[size] for size in sizes}
    stock = SSLTask.get_parser().parse_args([])
    for part in ("frontend", "normalize", "preencoder", "encoder"):
        for option in (part, f"{part}_conf"):
            setattr(stock, option, getattr(options, option))
    stock.token_list = ["<unk>"]
    stock.loss = [{"name": "hubert", "conf": {"num_classes": 8, "final_dim": 16}}]
    torch.manual_seed(0)
    model = SSLTask.build_model(stock).eval()
    (tmp_path / "config.yaml").write_text(yaml_no_alias_safe_dump(vars(stock)))
    torch.save(model.state_dict(), options.ssl_init)

    start_from(options)
    said = capsys.readouterr().out
    assert "encoder are taken over; masking, " in said
    options.label_grid = {"fs": 16000, "offset": 0.0, "stride": 320}
    continued = A2MTask.build_model(options).eval()
    for init in options.init_param:
        load_pretrained_model(init, continued, ignore_init_mismatch=False)
    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    batch, lengths = torch.from_numpy(speech)[None], torch.tensor([len(speech)])
    with torch.inference_mode():
        final, layers, _ = model.inference_encode(batch, lengths)
    ours = our_layers(continued, batch, lengths)
    assert len(ours) == len(layers) + 1
    for layer, expected in zip(ours, [*layers, final]):
        torch.testing.assert_close(layer, expected, rtol=0, atol=1e-5)

    features = LayerFeatures(options.ssl_init, 2)
    torch.testing.assert_close(features(speech), layers[1][0], rtol=0, atol=1e-5)
    assert len(layers[1][0]) == features.grid.num_frames(len(speech))
