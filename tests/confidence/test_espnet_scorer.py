"""ESPnet scorers: intermediate CTC, packed models, names; what is not trusted."""

from __future__ import annotations

import os
import pickle
import stat
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from helpers.random_scorer import alone, batch_of, write_scorer

from espnet_a2m.compat import packed
from espnet_a2m.compat.load import find_statistics
from espnet_a2m.confidence.espnet import ESPnetScorer
from espnet_a2m.core.errors import UserError

pytestmark = pytest.mark.espnet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Where archives are unpacked in a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return packed.cache_dir()


# --- Intermediate CTC -----------------------------------------------------------


@pytest.mark.parametrize("conditioning", [False, True])
@pytest.mark.parametrize("encoder", ["conformer", "transformer", "e_branchformer"])
def test_intermediate_ctc_is_espnets_own(encoder, conditioning, audio, tmp_path):
    conf = {"rel_pos_type": "latest"} if encoder == "conformer" else {}
    model_file = write_scorer(
        tmp_path,
        encoder=encoder,
        interctc_layer_idx=[1],
        interctc_use_conditioning=conditioning,
        **conf,
    )
    scorer = ESPnetScorer(str(model_file), ctc_layer=1)
    assert scorer.batches != conditioning
    speech = list(audio.values())
    logits, lengths = scorer.logits(*batch_of(speech))
    model = scorer.model
    for row, samples in enumerate(speech):
        one = torch.from_numpy(samples)[None]
        with torch.no_grad():
            (_, intermediate), _ = model.encode(one, torch.tensor([one.size(1)]))
        (layer, hidden), *_ = intermediate
        want = model.ctc.softmax(hidden)[0]
        assert layer == 1 and lengths[row] == len(want)
        got = logits[row, : len(want)].softmax(-1)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
        assert (got - alone(model, samples)).abs().max() > 0.05  # the last layer's
    last = ESPnetScorer(str(model_file))
    assert last.description != scorer.description
    with pytest.raises(UserError, match=r"ctc_layer=2.*\[1\]"):
        ESPnetScorer(str(model_file), ctc_layer=2)


def test_models_that_have_no_fitting_ctc_are_refused(tmp_path):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    with pytest.raises(UserError, match="none"):
        ESPnetScorer(str(model_file), ctc_layer=1)


# --- What is not trusted --------------------------------------------------------


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("bare", [False, True])
def test_a_checkpoint_that_runs_programs_is_refused(bare, tmp_path, capsys):
    from espnet_a2m.bin.score import main

    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    ran = tmp_path / "payload_ran"
    if bare:  # a pickle of nothing else
        model_file.write_bytes(pickle.dumps(Payload(ran)))
    else:  # beside the right parameters
        torch.save({**torch.load(model_file), "x": Payload(ran)}, model_file)
    command = ["--asr_model_file", str(model_file), "--data", str(tmp_path)]
    with pytest.raises(SystemExit) as error:
        main([*command, "--output_dir", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert error.value.code == 1 and "run any program" in message
    assert "--trust_checkpoint true" in message
    assert not ran.exists()


def test_a_trusted_checkpoint_is_read(tmp_path, audio):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    want = ESPnetScorer(str(model_file)).description
    state = torch.load(model_file)

    class Harmless(dict):
        pass

    globals()["Harmless"] = Harmless
    Harmless.__qualname__ = "Harmless"
    torch.save(Harmless(state), model_file)
    with pytest.raises(UserError, match="trust_checkpoint"):
        ESPnetScorer(str(model_file))
    trusted = ESPnetScorer(str(model_file), trust_checkpoint=True)
    assert trusted.description == want


@pytest.mark.parametrize(
    ("option", "value"),
    [("frontend", "s3prl"), ("frontend", "espnet_ssl"), ("encoder", "whisper")],
)
def test_configurations_that_read_further_checkpoints_are_refused(
    option, value, tmp_path
):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    config = tmp_path / "config.yaml"
    options = yaml.safe_load(config.read_text())
    ran = tmp_path / "payload_ran"
    (tmp_path / "upstream.pth").write_bytes(pickle.dumps(Payload(ran)))
    conf = {"frontend_conf": {"path_or_url": str(tmp_path / "upstream.pth")}}
    options |= {option: value, f"{option}_conf": conf}
    config.write_text(yaml.safe_dump(options))
    with pytest.raises(UserError, match=f"`{option}: {value}`.*trust_checkpoint"):
        ESPnetScorer(str(model_file))
    config.write_text("!!python/object/apply:os.mkdir [" + str(ran) + "]")
    with pytest.raises(UserError, match=r"config\.yaml:1: not valid YAML"):
        ESPnetScorer(str(model_file))
    assert not ran.exists()


def test_damaged_checkpoints_are_named(tmp_path):
    model_file = write_scorer(tmp_path, rel_pos_type="latest")
    model_file.write_bytes(model_file.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"model\.pth: .*(damaged|no checkpoint)"):
        ESPnetScorer(str(model_file))


# --- Packed models --------------------------------------------------------------


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """A model with global_mvn, packed by ESPnet; only its archive is left."""
    import numpy as np
    from espnet2.bin.pack import main

    exp = tmp_path / "exp" / "asr"
    exp.mkdir(parents=True)
    np.savez(
        exp / "feats_stats.npz",
        count=10,
        sum=np.ones(80) * 7,
        sum_square=np.ones(80) * 9,
    )
    monkeypatch.chdir(tmp_path)
    stats = {"stats_file": "exp/asr/feats_stats.npz"}
    model_file = write_scorer(
        exp, rel_pos_type="latest", normalize="global_mvn", normalize_conf=stats
    )
    main(
        ["asr", "--asr_train_config", str(model_file.with_name("config.yaml"))]
        + ["--asr_model_file", str(model_file), "--outpath", "model.zip"]
        + ["--option", "exp/asr/feats_stats.npz"]
    )
    exp.rename(tmp_path / "kept")
    return tmp_path / "model.zip"


def test_packed_model_scores_as_it_did(archive, audio, tmp_path, cache):
    scorer = ESPnetScorer(str(archive))
    (folder,) = cache.iterdir()
    stats = folder / "exp" / "asr" / "feats_stats.npz"
    assert scorer.configuration["config"]["normalize_conf"]["stats_file"] == str(stats)
    samples = next(iter(audio.values()))
    logits, _ = scorer.logits(*batch_of([samples]))
    want = alone(scorer.model, samples)
    torch.testing.assert_close(
        logits[0, : len(want)].softmax(-1), want, atol=1e-5, rtol=0
    )
    state = torch.load(tmp_path / "kept" / "model.pth")
    loaded = scorer.model.state_dict()
    # one release turns the statistics to float32 when they are used
    assert all(torch.equal(loaded[k].float(), state[k].float()) for k in state)
    # unpacked once; a folder does as well; another archive is another folder
    before = stats.stat().st_mtime_ns
    assert ESPnetScorer(str(archive)).description == scorer.description
    assert stats.stat().st_mtime_ns == before
    assert ESPnetScorer(str(folder)).description == scorer.description
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("more.txt", "more")
    ESPnetScorer(str(archive))
    assert len(list(cache.iterdir())) == 2


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("exp/asr/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../../escaped", "outside"),
        ("exp/../../escaped", "outside"),
        ("{absolute}/escaped", "outside"),
        ("..\\escaped", "outside"),
        (link(), "a link"),
    ],
)
def test_members_cannot_leave_their_folder(member, message, archive, tmp_path, cache):
    if isinstance(member, str):  # all below tmp_path, where the last line looks
        member = member.format(absolute=tmp_path)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match=message):
        ESPnetScorer(str(archive))
    assert not list(cache.iterdir())
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta.clear(), "asr_train_config"),
        (
            lambda meta: meta["files"].update(asr_model_file="../../kept/model.pth"),
            "asr_model_file",
        ),
    ],
)
def test_meta_yaml_names_members_only(change, message, archive, tmp_path, cache):
    with zipfile.ZipFile(archive) as opened:
        contents = {name: opened.read(name) for name in opened.namelist()}
    meta = yaml.safe_load(contents["meta.yaml"])
    change(meta)
    contents["meta.yaml"] = yaml.safe_dump(meta).encode()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in contents.items():
            opened.writestr(name, content)
    with pytest.raises(UserError, match=message):
        ESPnetScorer(str(archive))
    content = archive.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes(255 - x for x in content[half : half + 99])
    for damaged in (b"PK no archive", content[:-500], flipped + content[half + 99 :]):
        archive.write_bytes(damaged)
        # what is cut off leaves the checkpoint's own directory of a zip archive
        with pytest.raises(UserError, match=r"not a \.zip archive|has no meta\.yaml"):
            ESPnetScorer(str(archive))
    assert len(list(cache.iterdir())) == 1


# --- Names ----------------------------------------------------------------------


def test_a_name_is_found_by_the_model_zoo(archive, tmp_path, monkeypatch):
    """In the hub's own cache, without a network."""
    pytest.importorskip("espnet_model_zoo")
    from espnet_model_zoo import downloader
    from huggingface_hub import constants

    hub = tmp_path / "hub"
    repository = hub / "models--user--model"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        downloader.ModelDownloader.__init__, "__defaults__", (str(hub),)
    )
    scorer = ESPnetScorer("user/model")
    stats = scorer.configuration["config"]["normalize_conf"]["stats_file"]
    assert stats.startswith(str(repository)) and Path(stats).is_file()
    with pytest.raises(UserError, match="user/absent: no such file, and no such model"):
        ESPnetScorer("user/absent")


def test_a_name_without_the_model_zoo_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "espnet_model_zoo", None)
    monkeypatch.setitem(sys.modules, "espnet_model_zoo.downloader", None)
    with pytest.raises(UserError, match=r"pip install espnet_a2m\[zoo\]"):
        ESPnetScorer("user/model")


def test_statistics_of_another_recipe_are_found(tmp_path, monkeypatch):
    """Their path, in a configuration, starts where the model was trained."""
    trained, here = tmp_path / "librispeech", tmp_path / "tedlium"
    stats = "exp/scorer_stats/train/feats_stats.npz"
    (trained / stats).parent.mkdir(parents=True)
    (trained / stats).touch()
    (here / stats).parent.mkdir(parents=True)
    (here / stats).touch()  # of another model
    monkeypatch.chdir(here)
    where = Path("..", "librispeech", "exp", "scorer_ctc", "config.yaml")
    config = {"normalize": "global_mvn", "normalize_conf": {"stats_file": stats}}
    found = find_statistics(config, where)["normalize_conf"]["stats_file"]
    assert Path(found).samefile(trained / stats)
    assert config["normalize_conf"]["stats_file"] == stats
    monkeypatch.chdir(trained)  # at home, nothing changes
    assert find_statistics(config, Path("exp/scorer_ctc/config.yaml")) is config
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "feats_stats.npz").touch()
    found = find_statistics(config, moved / "config.yaml")["normalize_conf"]
    assert found["stats_file"] == str(moved / "feats_stats.npz")
