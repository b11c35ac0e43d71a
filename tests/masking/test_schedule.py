"""Options that change over the updates."""

from __future__ import annotations

import pytest
import torch

from espnet_a2m.masking.schedule import AnnealedOptions, LinearSchedule

pytestmark = pytest.mark.unit

RANGES = {
    "share": ("in [0, 1]", lambda value: 0 <= value <= 1),
    "width": ("above 0", lambda value: value > 0),
}


def options(anneal=None, **constants):
    return AnnealedOptions(
        "some_conf", {"share": 0.5, "width": None, **constants}, RANGES, anneal
    )


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.7), (0.7, 0.1), (0.3, 0.3)])
def test_linear_then_constant(start, end):
    schedule = LinearSchedule(start, end, 300)
    for updates, done in ((0, 0.0), (150, 0.5), (300, 1.0), (10**9, 1.0)):
        value = schedule(torch.tensor(updates))
        assert value.shape == ()
        assert float(value) == pytest.approx(start + done * (end - start))
    # never beyond its ends, not by a rounding error either
    values = schedule(torch.arange(400))
    assert values.max() <= torch.tensor(max(start, end))
    assert values.min() >= torch.tensor(min(start, end))


def test_constants_and_schedules():
    constant = options()
    assert constant.at("share", torch.tensor(3)) == constant.maximum("share") == 0.5
    assert constant.is_off("width")
    with pytest.raises(ValueError, match="width is off"):
        constant.at("width", torch.tensor(3))
    annealed = options({"share": [1, 0, 4], "width": [2, 3, 1]})
    assert float(annealed.at("share", torch.tensor(3))) == 0.25
    assert annealed.maximum("share") == 1.0 and annealed.maximum("width") == 3.0
    assert not annealed.is_off("width")


@pytest.mark.parametrize(
    ("anneal", "message"),
    [
        ({"depth": [0, 1, 10]}, "'depth' is none of share, width"),
        ({"share": [0, 1]}, "not .start, end, updates"),
        ({"share": "0 1 10"}, "not .start, end, updates"),
        ({"share": [0, "1", 10]}, "not .start, end, updates"),
        ({"share": [0, 1, 0]}, "not .start, end, updates"),
        ({"share": [0, 2, 10]}, "share=2.0 is not in"),
        ({"width": [0, 2, 10]}, "width=0.0 is not above 0"),
    ],
)
def test_bad_schedules(anneal, message):
    with pytest.raises(ValueError, match=f"some_conf: .*{message}"):
        options(anneal)
