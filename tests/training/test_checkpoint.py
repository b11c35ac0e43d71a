"""Experiment directories are recovered after an interrupted run."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest
import torch
import yaml

from espnet_a2m.core.errors import UserError
from espnet_a2m.training.checkpoint import (
    BACKUP,
    CHECKPOINT,
    UPDATE,
    atomic_save,
    explain_full_disk,
    is_complete,
    recover_checkpoint,
)
from espnet_a2m.training.mid_epoch_checkpoint import set_random_state

pytestmark = pytest.mark.espnet


def states_after(epochs: int) -> dict:
    """The states that ESPnet saves after so many epochs of ever better accuracy."""
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    for epoch in range(1, epochs + 1):
        reporter.set_epoch(epoch)
        with reporter.observe("valid") as sub:
            sub.register({"acc": 0.1 * epoch})
            sub.next()
    model = {"weight": torch.arange(5000.0) + epochs}
    return {"model": model, "reporter": reporter.state_dict()}


@pytest.fixture
def exp(tmp_path) -> Path:
    """A directory after three epochs, as ESPnet leaves it."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"best_model_criterion": [["valid", "acc", "max"]]})
    )
    for epoch in (1, 2, 3):
        torch.save(states_after(epoch)["model"], tmp_path / f"{epoch}epoch.pth")
    torch.save(states_after(3), tmp_path / CHECKPOINT)
    for name in ("latest.pth", "valid.acc.best.pth"):
        (tmp_path / name).symlink_to("3epoch.pth")
    return tmp_path


def state(directory: Path) -> dict:
    """Names, link targets and contents of a directory."""
    return {
        p.name: p.readlink() if p.is_symlink() else p.read_bytes()
        for p in directory.iterdir()
    }


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_complete_directory_is_left_alone_but_for_unfinished_files(exp):
    before = state(exp)
    (exp / f".{UPDATE}.abc123").write_bytes(b"of an interrupted atomic_save")
    recover_checkpoint(exp)
    assert state(exp) == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_truncated_checkpoint(exp, share):
    checkpoint = exp / CHECKPOINT
    truncate(checkpoint, share)
    assert not is_complete(checkpoint)
    recover_checkpoint(exp)  # nothing to resume from
    assert not checkpoint.exists()
    truncate(exp / "2epoch.pth", 1.0)
    torch.save(states_after(2), exp / BACKUP)
    recover_checkpoint(exp)
    restored = torch.load(checkpoint, weights_only=False)
    assert restored["reporter"]["epoch"] == 2


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_interruption_between_checkpoint_and_model(exp, share):
    """The epoch's model is missing or truncated, and the links are those before it."""
    before = {name: s for name, s in state(exp).items() if name != "3epoch.pth"}
    if share is None:
        (exp / "3epoch.pth").unlink()
    else:
        truncate(exp / "3epoch.pth", share)
    for name in ("latest.pth", "valid.acc.best.pth"):
        (exp / name).unlink()
        (exp / name).symlink_to("2epoch.pth")
    recover_checkpoint(exp)
    after = state(exp)
    model = torch.load(exp / "3epoch.pth", weights_only=True)
    assert torch.equal(model["weight"], states_after(3)["model"]["weight"])
    assert {k: v for k, v in after.items() if k != "3epoch.pth"} == before


@pytest.mark.parametrize("size", [1000, 200_000, 400_100])
@pytest.mark.parametrize("save", [atomic_save, torch.save])  # ours and ESPnet's
def test_full_disk_is_explained(save, size, tmp_path):
    """Here, no file may grow beyond a size."""
    target = tmp_path / "checkpoint.pth"
    save({"weight": torch.zeros(1)}, target)
    before = state(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(UserError, match="MB are free"), explain_full_disk(tmp_path):
            save({"weight": torch.zeros(100_000)}, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if save is atomic_save:
        assert state(tmp_path) == before


def test_other_errors_are_not_explained_by_a_full_disk(tmp_path):
    for error in (OSError(errno.EACCES, "no permission"), RuntimeError("of a model")):
        with pytest.raises(type(error)) as caught, explain_full_disk(tmp_path):
            raise error
        assert caught.value is error


def mid_epoch(exp: Path, epoch: int, length: int):
    """A mid-epoch checkpoint of a small training run after three of its batches."""
    from espnet2.train.reporter import SubReporter

    from espnet_a2m.training.mid_epoch_checkpoint import MidEpochCheckpoint

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    reporter = SubReporter("train", epoch, 0)
    for _ in range(3):
        model(torch.ones(3)).sum().backward()
        optimizer.step()
        reporter.register({"loss": 0.5})
        reporter.next()
    return MidEpochCheckpoint(exp, model, reporter, length, [optimizer], [None], None)


def test_mid_epoch_checkpoint_is_restored_only_where_it_belongs(tmp_path, caplog):
    saved = mid_epoch(tmp_path, epoch=2, length=10)
    saved.save(finished=False)
    numbers = torch.rand(3)
    again = mid_epoch(tmp_path, epoch=2, length=10)
    again.parts["model"].weight.data.zero_()
    resumed = again.restore()
    assert resumed.batches == 3 and not resumed.finished
    assert torch.equal(again.parts["model"].weight, saved.parts["model"].weight)
    assert again.reporter.count == 3 and len(again.reporter.stats["loss"]) == 3
    set_random_state(resumed.random_state)
    assert torch.equal(torch.rand(3), numbers)
    assert mid_epoch(tmp_path, epoch=3, length=10).restore() is None  # epoch 2 is over
    assert not caplog.text
    assert mid_epoch(tmp_path, epoch=2, length=11).restore() is None  # other batches
    assert "the epoch starts from its beginning" in caplog.text
    caplog.clear()
    saved.origin["num_processes"] = 2
    saved.save(finished=False)
    assert mid_epoch(tmp_path, epoch=2, length=10).restore() is None
    assert "'num_processes': 2" in caplog.text and "from its beginning" in caplog.text
