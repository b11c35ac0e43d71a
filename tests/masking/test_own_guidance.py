"""The guidance of docs/extending.md, from a module of the user's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from espnet_a2m.masking.guided import GuidedMasking

pytestmark = pytest.mark.unit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def test_the_example_masks_middling_frames(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "middling.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    masking = GuidedMasking(
        8, mask_length=1, rank_confidence=False, guidance="middling:middling"
    )
    torch.manual_seed(0)
    confidence = torch.tensor([0.0, 0.5, 1.0]).repeat(20)[None].expand(200, -1)
    lengths = torch.full((200,), 60)
    mask = masking.draw(lengths, 60, confidence, torch.tensor(0))
    assert (mask.sum(1) == 24).all()
    sure_not, middling, sure = mask.unflatten(1, (20, 3)).float().mean((0, 1))
    assert middling > 0.95 > 0.2 > max(sure, sure_not)
