"""An export loads in unpatched ESPnet, where espnet_a2m cannot be imported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from helpers.tiny_pretraining import (
    QUICK,
    asr_options,
    data_options,
    run_without_ours,
)
from helpers.tiny_pretraining import pretrain as run_pretraining

from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.espnet

READ_FRONTEND = """
import soundfile, torch
from espnet2.asr.frontend.espnet_ssl import ESPnetSSLFrontend

path, output, *audio = sys.argv[1:]
outputs = {}
for layer in (-1, 1):
    frontend = ESPnetSSLFrontend(frontend_conf={"path_or_url": path}, layer=layer)
    frontend.eval()
    for file in audio:
        speech = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None]
        with torch.no_grad():
            features, _ = frontend(speech, torch.tensor([speech.size(1)]))
        outputs[layer, file] = features
torch.save(outputs, output)
"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data) -> Path:
    exp = tmp_path_factory.mktemp("ssl")
    return run_pretraining(data, exp, "ssl_w2vbert_conformer.yaml")


@pytest.fixture(scope="module")
def exported(pretrained) -> Path:
    from espnet_a2m.bin.export import main

    output = pretrained.parent / "export"
    main(["--model_file", str(pretrained), "--output_dir", str(output)])
    return output / "model.pth"


def test_stock_frontend_computes_the_same(data, pretrained, exported, tmp_path):
    from espnet_a2m.compat.load import load_trained_model
    from espnet_a2m.publish.export import our_layers
    from espnet_a2m.training.task import A2MTask

    audio = list(read_scp(data / "wav.scp").values())[:3]
    output = tmp_path / "outputs"
    run_without_ours(READ_FRONTEND, tmp_path, exported, output, *audio)
    got = torch.load(output, weights_only=True)
    model = load_trained_model(A2MTask, pretrained, None, "").eval()
    for file in audio:
        speech = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None]
        layers = our_layers(model, speech, torch.tensor([speech.size(1)]))
        for layer in (-1, 1):
            want = layers[:-1][layer]  # ESPnet reads before the final norm
            assert got[layer, file].shape == want.shape and want.std() > 0.1
            assert (got[layer, file] - want).abs().max() <= 1e-5


def test_export_is_stock_and_the_same_in_both_releases(exported):
    from espnet2.tasks.ssl import SSLTask

    config = yaml.safe_load((exported.parent / "config.yaml").read_text())
    assert set(config) <= {"version", *SSLTask.get_default_config()}
    state = torch.load(exported, weights_only=True)
    model, _ = SSLTask.build_model_from_file(None, exported)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and not unexpected
    # the names of ESPnet 202511, which later ones read too
    assert {"encoder.embed.out.0.weight", "normalize.mean", "global_step"} <= set(state)
    assert "encoder.embed.out.weight" not in state


def test_stock_asr_trains_from_the_export(data, exported, tmp_path):
    from espnet2.bin.asr_train import main

    options = [*asr_options(data, "asr_ctc_espnet_ssl.yaml"), *QUICK]
    options += ["--frontend_conf", f"frontend_conf.path_or_url={exported}"]
    options += ["--frontend_conf", "freeze_encoder_steps=0", "--batch_bins", "150000"]
    options += ["--output_dir", str(tmp_path)]
    main([*options, *data_options(data, "text,text,text")])
    before = torch.load(exported, weights_only=True)
    after = torch.load(tmp_path / "1epoch.pth", weights_only=True)
    name = "encoder.encoders.0.feed_forward.w_1.weight"
    moved = (after[f"frontend.upstream.{name}"] - before[name]).abs().max()
    assert 0 < moved < 1e-2  # trained, from there
    assert torch.equal(
        after["frontend.upstream.normalize.mean"], before["normalize.mean"]
    )


def test_a_moved_export_needs_one_line(exported, tmp_path):
    from espnet2.tasks.ssl import SSLTask

    moved = Path(shutil.copytree(exported.parent, tmp_path / "moved"))
    config = moved / "config.yaml"
    text = config.read_text()
    stats = moved / "feats_stats.npz"
    assert text.count(str(exported.parent)) == 1 and "if you move" in text
    config.write_text(text.replace(str(exported.parent), str(moved)))
    model, _ = SSLTask.build_model_from_file(None, moved / "model.pth")
    assert model.normalize.stats_file == stats


def test_exporting_again_replaces_only_an_export(pretrained, exported, capsys):
    from espnet_a2m.bin.export import main

    before = exported.stat().st_mtime_ns
    command = ["--model_file", str(pretrained), "--output_dir"]
    main([*command, str(exported.parent)])
    assert exported.stat().st_mtime_ns > before
    assert not list(exported.parent.parent.glob("*.tmp"))
    with pytest.raises(SystemExit):
        main([*command, str(pretrained.parent)])
    assert "1epoch.pth" in capsys.readouterr().err and pretrained.exists()


def test_wrong_weights_are_not_published(pretrained, exported, tmp_path):
    from espnet_a2m.compat.load import load_trained_model
    from espnet_a2m.core.errors import UserError
    from espnet_a2m.publish.export import check
    from espnet_a2m.training.task import A2MTask

    model = load_trained_model(A2MTask, pretrained, None, "")
    copy = Path(shutil.copytree(exported.parent, tmp_path / "export")) / "model.pth"
    state = torch.load(copy, weights_only=True)
    changed = {**state, "encoder.encoders.1.norm_ff.bias": torch.ones(32)}
    torch.save(changed, copy)
    with pytest.raises(UserError, match="layer 2 differs"):
        check(model, copy)
    del changed["encoder.encoders.1.norm_ff.bias"]
    torch.save(changed | {"encoder.x": torch.ones(1)}, copy)
    with pytest.raises(UserError, match=r"not find encoder\.enc.*ignore encoder\.x"):
        check(model, copy)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("encoder", "branchformer", r"encoder: branchformer.*conformer"),
        ("frontend", "sliding_window", r"frontend: sliding_window.*default"),
        ("encoder_conf", {"interctc_layer_idx": [1]}, "interctc_layer_idx"),
    ],
)
def test_what_stock_does_not_know_is_refused(option, value, message, exported):
    from espnet_a2m.core.config import load_config
    from espnet_a2m.core.errors import UserError
    from espnet_a2m.publish.export import stock_config

    config = load_config(exported.parent.parent / "config.yaml")
    with pytest.raises(UserError, match=message):
        stock_config({**config, option: value})
