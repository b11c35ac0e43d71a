"""Frame grids against the layers that they describe, and masks of padding."""

from __future__ import annotations

import json

import pytest
import soundfile
import torch

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.frames import (
    FrameGrid,
    conv_lengths,
    frame_positions,
    padding_mask,
)

pytestmark = pytest.mark.unit

SAMPLES = FrameGrid(fs=16000, offset=0, stride=1)
WAV2VEC2 = [(10, 5, 0), *[(3, 2, 0)] * 4, *[(2, 2, 0)] * 2]
STACKS = {
    "wav2vec2": WAV2VEC2,
    "conv2d": [(400, 160, 200), (3, 2, 0), (3, 2, 0)],
    "padded": [(5, 1, 2), (4, 3, 1)],
}


def layers(convs) -> torch.nn.Sequential:
    """Convolutions whose output frame is the mean of its receptive field."""
    stack = torch.nn.Sequential(
        *(torch.nn.Conv1d(1, 1, k, s, p, bias=False) for k, s, p in convs)
    ).double()
    for conv in stack:
        torch.nn.init.constant_(conv.weight, 1 / conv.kernel_size[0])
    return stack


@pytest.mark.parametrize("name", STACKS)
def test_frames_are_centred_on_their_receptive_field(name):
    grid = SAMPLES.after(STACKS[name])
    audio = torch.zeros(1, 1, 8000, dtype=torch.double, requires_grad=True)
    frames = layers(STACKS[name])(audio)[0, 0]
    samples = torch.arange(8000, dtype=torch.double)
    for frame in (4, 7):  # far from the ends
        (weight,) = torch.autograd.grad(frames[frame], audio, retain_graph=True)
        centre = (weight[0, 0] * samples).sum() / weight.sum()
        assert centre.item() == pytest.approx(grid.offset + frame * grid.stride)


@pytest.mark.parametrize("name", STACKS)
def test_lengths_are_those_of_the_layers(name, short_utterances):
    stack = layers(STACKS[name])
    speech = torch.from_numpy(soundfile.read(short_utterances[0][1])[0])[None, None]
    lengths = [*range(1200, 1300), 16000, speech.size(2)]
    want = [stack(speech[:, :, :n]).size(2) for n in lengths]
    assert conv_lengths(torch.tensor(lengths), STACKS[name]).tolist() == want


def test_lengths_of_what_is_too_short_are_0():
    lengths = torch.tensor([0, 1, 399, 400])
    assert conv_lengths(lengths, WAV2VEC2).tolist() == [0, 0, 0, 1]


def test_frames_are_those_of_an_stft_and_convolutions():
    convs = [(3, 2, 0), (3, 2, 0)]
    grid = FrameGrid(16000, 0, 160).after(convs)
    assert (grid.offset, grid.stride) == (480, 640)
    samples = torch.tensor([*range(0, 3000, 37), 959, 960, 1599, 1600])
    want = conv_lengths(samples // 160 + 1, convs).tolist()
    assert grid.lengths(samples).tolist() == want
    assert [grid.num_frames(n) for n in samples.tolist()] == want


def test_lengths_of_long_recordings_are_exact():
    grid = FrameGrid(16000, 200.0, 320)
    samples = 2**31 + 319 + torch.arange(0, 640, 319)
    assert grid.lengths(samples).tolist() == [
        grid.num_frames(n) for n in samples.tolist()
    ]


def test_other_audio_is_refused():
    grid = FrameGrid(16000, 200.0, 320)
    for found in (48, 49, 50):
        grid.check_num_frames(found, 16000, "utt", "score it again")
    for found in (47, 51):
        with pytest.raises(DataError, match=rf"utt has {found}.*16000.*49: score it"):
            grid.check_num_frames(found, 16000, "utt", "score it again")


def test_a_saved_grid_is_the_same(tmp_path):
    grid = FrameGrid(16000, 199.5, 320)
    grid.save(tmp_path / "grid.json")
    assert FrameGrid.load(tmp_path / "grid.json") == grid
    assert FrameGrid.load({"fs": 16000, "offset": 199.5, "stride": 320}) == grid


@pytest.mark.parametrize(
    "change", [{"fs": 0}, {"stride": 1.5}, {"offset": float("nan")}, {"rate": 3}]
)
def test_what_is_no_grid_is_named(tmp_path, change):
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"fs": 16000, "offset": 0, "stride": 320, **change}))
    with pytest.raises(DataError, match=r"grid\.json: not a frame grid"):
        FrameGrid.load(path)


def test_positions_in_another_grid():
    coarse, fine = FrameGrid(16000, 320, 640), FrameGrid(16000, 160, 320)
    found = frame_positions(coarse, fine, 6, torch.tensor([3, 2]))
    want = [[0, 0.25, 0.75, 1.25, 1.75, 2], [0, 0.25, 0.75, 1, 1, 1]]
    assert found.tolist() == want  # the nearest one beyond the ends
    start = torch.tensor([640, 0])  # the first one is cropped
    found = frame_positions(coarse, fine, 2, torch.tensor([3, 3]), start)
    assert found.tolist() == [[0.75, 1.25], [0, 0.25]]
    assert frame_positions(coarse, coarse, 3, torch.tensor([3])).tolist() == [[0, 1, 2]]


def test_padding_mask():
    mask = padding_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[True] * 3, [False, False, True], [False] * 3]
