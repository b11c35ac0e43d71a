"""Training directories that a kill has left are made whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from espnet_a2m.training.checkpoint import BACKUP, CHECKPOINT, is_whole, repair
from espnet_a2m.training.update_checkpoint import set_random_state


def training(epochs: int) -> dict:
    """The state that ESPnet saves after so many epochs of ever better accuracy."""
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
        torch.save(training(epoch)["model"], tmp_path / f"{epoch}epoch.pth")
    torch.save(training(3), tmp_path / CHECKPOINT)
    for name in ("latest.pth", "valid.acc.best.pth"):
        (tmp_path / name).symlink_to("3epoch.pth")
    return tmp_path


def state(directory: Path) -> dict:
    """Names, link targets and contents of a directory."""
    return {
        p.name: p.readlink() if p.is_symlink() else p.read_bytes()
        for p in directory.iterdir()
    }


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_whole_directory_is_left_alone(exp):
    before = state(exp)
    repair(exp)
    assert state(exp) == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_cut_checkpoint(exp, share):
    checkpoint = exp / CHECKPOINT
    cut(checkpoint, share)
    assert not is_whole(checkpoint)
    repair(exp)  # nothing to go on from
    assert not checkpoint.exists()
    cut(exp / "2epoch.pth", 1.0)
    torch.save(training(2), exp / BACKUP)
    repair(exp)
    restored = torch.load(checkpoint, weights_only=False)
    assert restored["reporter"]["epoch"] == 2


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_kill_between_checkpoint_and_model(exp, share):
    """The epoch's model is missing or cut, and the links are those before it."""
    before = {name: s for name, s in state(exp).items() if name != "3epoch.pth"}
    if share is None:
        (exp / "3epoch.pth").unlink()
    else:
        cut(exp / "3epoch.pth", share)
    for name in ("latest.pth", "valid.acc.best.pth"):
        (exp / name).unlink()
        (exp / name).symlink_to("2epoch.pth")
    repair(exp)
    after = state(exp)
    model = torch.load(exp / "3epoch.pth", weights_only=True)
    assert torch.equal(model["weight"], training(3)["model"]["weight"])
    assert {k: v for k, v in after.items() if k != "3epoch.pth"} == before


def updates_of(exp: Path, epoch: int, length: int):
    """A checkpoint between updates of a small training after three of its batches."""
    from espnet2.train.reporter import SubReporter

    from espnet_a2m.training.update_checkpoint import UpdateCheckpoint

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    reporter = SubReporter("train", epoch, 0)
    for _ in range(3):
        model(torch.ones(3)).sum().backward()
        optimizer.step()
        reporter.register({"loss": 0.5})
        reporter.next()
    return UpdateCheckpoint(exp, model, [optimizer], [None], None, reporter, length)


def test_updates_are_gone_on_with_only_where_they_belong(tmp_path, caplog):
    saved = updates_of(tmp_path, epoch=2, length=10)
    saved.save(finished=False)
    numbers = torch.rand(3)
    again = updates_of(tmp_path, epoch=2, length=10)
    again.parts["model"].weight.data.zero_()
    resumed = again.restore()
    assert resumed.batches == 3 and not resumed.finished
    assert torch.equal(again.parts["model"].weight, saved.parts["model"].weight)
    assert again.reporter.count == 3 and len(again.reporter.stats["loss"]) == 3
    set_random_state(resumed.random_state)
    assert torch.equal(torch.rand(3), numbers)
    assert updates_of(tmp_path, epoch=3, length=10).restore() is None  # epoch 2 is over
    assert not caplog.text
    assert updates_of(tmp_path, epoch=2, length=11).restore() is None  # other batches
    assert "the epoch starts anew" in caplog.text
    caplog.clear()
    saved.origin["num_processes"] = 2
    saved.save(finished=False)
    assert updates_of(tmp_path, epoch=2, length=10).restore() is None
    assert "'num_processes': 2" in caplog.text and "starts anew" in caplog.text
