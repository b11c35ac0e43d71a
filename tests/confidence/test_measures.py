"""Eqs. 2 and 9, frame grids, and confidences carried to the encoder's frames."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import softmax
from scipy.stats import entropy

from espnet_a2m.confidence.energy import energy_confidence, frame_level
from espnet_a2m.confidence.measures import (
    BLANK_POLICIES,
    MEASURES,
    frame_confidence,
    utterance_confidence,
)
from espnet_a2m.core.frames import FrameGrid, conv_lengths
from espnet_a2m.model.frontend import ConfidenceFrontend

pytestmark = pytest.mark.unit

GRID = FrameGrid(16000, 480.0, 640)  # log-mel every 10 ms, 4x subsampled


def reference(probs, measure, blank, temperature):
    """The measures of one frame, from their definitions."""
    probs = probs ** (1 / temperature)
    probs = probs / probs.sum()
    nonblank = 1 - probs[0]
    if blank != "include":
        probs = probs[1:]
    if blank == "renormalise":
        probs = probs / probs.sum()
    largest = np.sort(probs)[::-1]
    return {
        "nonblank": nonblank,
        "max_prob": largest[0],
        "margin": largest[0] - largest[1],
        "entropy": 1 - entropy(probs) / np.log(len(probs)),
    }[measure]


NONSENSE = {
    ("entropy", "exclude"),
    ("nonblank", "include"),
    ("nonblank", "renormalise"),
}


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(
    ("measure", "blank"),
    [p for p in product(MEASURES, BLANK_POLICIES) if p not in NONSENSE],
)
def test_measures_equal_their_definitions(measure, blank, temperature):
    rng = np.random.default_rng(0)
    # from nearly uniform to nearly certain
    logits = rng.normal(size=(50, 7)) * np.linspace(0.1, 8, 50)[:, None]
    probs = softmax(logits, axis=-1)
    want = [reference(p, measure, blank, temperature) for p in probs]
    for scores in (np.log(probs), logits):  # normalised, and up to a constant
        got = frame_confidence(torch.from_numpy(scores), measure, blank, temperature)
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_blank_is_where_blank_id_says():
    log_probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]).log()
    for blank_id, want in ((0, [0.2, 0.6]), (2, [0.7, 0.3])):
        got = frame_confidence(log_probs, blank="exclude", blank_id=blank_id)
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "entropy", "blank": "exclude"}, "use blank=renormalise"),
        ({"measure": "nonblank", "blank": "include"}, "leave blank=include out"),
        ({"measure": "gini"}, "max_prob, entropy, margin"),
        ({"blank": "ignore"}, "include, exclude, renormalise"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
    ],
)
def test_measures_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        frame_confidence(torch.zeros(4, 3), **options)


def test_eq_9_ignores_padding():
    confidence = torch.tensor([[0.5, 0.7, 9.0], [0.2, 0.4, 0.6], [9.0, 9.0, 9.0]])
    s_u = utterance_confidence(confidence, torch.tensor([2, 3, 0]))
    np.testing.assert_allclose(s_u, [0.6, 0.4, 0.0], rtol=1e-6)


def test_grid_of_stft_and_subsampling():
    stft = FrameGrid(16000, 0.0, 160)
    conv2d = [(3, 2, 0), (3, 2, 0)]
    assert stft.after(conv2d) == GRID
    for samples in range(1120, 9000, 37):  # frames of the STFT: 1 + N // 160
        frames = conv_lengths(torch.tensor([1 + samples // 160]), conv2d)
        assert GRID.num_frames(samples) == int(frames)
    assert conv_lengths(torch.tensor([0, 1, 6, 7]), conv2d).tolist() == [0, 0, 0, 1]


def test_interpolation_equals_numpy():
    rng = np.random.default_rng(0)
    scorer, encoder = GRID, FrameGrid(16000, 200.0, 320)
    frontend = ConfidenceFrontend(encoder, scorer)
    lengths, starts = [40, 25, 1], [0, 5000, 100]
    confidence = np.zeros((3, 40), np.float32)
    for row, length in enumerate(lengths):
        confidence[row, :length] = rng.random(length)
    streams = {
        "confidence": torch.from_numpy(confidence),
        "confidence_lengths": torch.tensor(lengths),
        "speech_start": torch.tensor(starts),
        "utterance_confidence": torch.tensor([[0.7], [0.8], [0.9]]),
    }
    audio = torch.zeros(3, 9600), torch.tensor([9600] * 3)
    got, s_u = frontend(*audio, 60, streams)
    assert s_u.tolist() == pytest.approx([0.7, 0.8, 0.9])
    for row, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        centres = start + 200.0 + 320 * np.arange(60)
        known = 480.0 + 640 * np.arange(length)
        want = np.interp(centres, known, confidence[row, :length])
        np.testing.assert_allclose(got[row], want, atol=1e-5)


def test_same_grid_is_the_identity():
    confidence, lengths = torch.rand(2, 30), torch.tensor([30, 30])
    streams = {"confidence": confidence, "confidence_lengths": lengths}
    frontend = ConfidenceFrontend(GRID, GRID)
    got, s_u = frontend(torch.zeros(2, 19200), 640 * lengths, 30, streams)
    assert torch.equal(got, confidence) and s_u is None
    with pytest.raises(ValueError, match="8000 Hz"):
        ConfidenceFrontend(GRID, FrameGrid(8000, 0.0, 80))


@pytest.mark.parametrize(
    "grid", [GRID, FrameGrid(16000, 0.0, 160), FrameGrid(16000, 200.0, 320)]
)
def test_energy_equals_a_loop(grid, short_utterances):
    audio = [
        soundfile.read(path, dtype="float32")[0] for _, path, _ in short_utterances[:3]
    ]
    audio.append(np.zeros(5000, np.float32))
    audio.append(np.full(5000, 0.3, np.float32))  # a constant is no sound either
    audio.append(audio[0][7000:20001])  # a crop is an utterance of its own
    lengths = torch.tensor([len(a) for a in audio])
    speech = torch.full((len(audio), int(lengths.max())), 9.0)  # padding is not read
    for row, samples in enumerate(audio):
        speech[row, : len(samples)] = torch.from_numpy(samples)
    num_frames = max(grid.num_frames(len(a)) for a in audio) + 1
    got = energy_confidence(speech, lengths, grid, num_frames)
    level, has_audio = frame_level(speech, lengths, grid, num_frames)
    for row, samples in enumerate(audio):
        levels = []
        for t in range(num_frames):
            centre = grid.offset + t * grid.stride
            begin = max(0, int(np.floor(centre - grid.stride / 2)))
            window = samples[begin : int(centre + grid.stride / 2)]
            power = np.var(window.astype(np.float64)) if len(window) else 0
            assert bool(has_audio[row, t]) == bool(len(window))
            levels.append(10 * np.log10(max(power, 1e-12)))
        np.testing.assert_allclose(level[row], levels, atol=1e-3)
        loudest = max(*levels, -60)  # so that what is at -90 dB has no confidence
        want = np.clip(1 + (np.array(levels) - loudest) / 30, 0, 1)
        want[~has_audio[row].numpy()] = 0
        np.testing.assert_allclose(got[row], want, atol=1e-4)
        assert got[row].max() == (1.0 if max(levels) > -60 else 0.0)
