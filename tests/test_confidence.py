"""Eqs. 2 and 9, frame grids, and confidences carried to the encoder's frames."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from espnet_a2m.confidence import frame_confidence, utterance_confidence
from espnet_a2m.frame_grid import FrameGrid, conv_lengths
from espnet_a2m.frontend import ConfidenceFrontend

GRID = FrameGrid(16000, 480.0, 640)  # log-mel every 10 ms, 4x subsampled


def test_eq_2_and_blank_policies():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    log_probs = torch.from_numpy(np.log(probs))
    expected = {
        "include": [0.7, 0.6],
        "exclude": [0.2, 0.6],
        "renormalise": [0.2 / 0.3, 0.6 / 0.9],
    }
    for blank, want in expected.items():
        got = frame_confidence(log_probs, blank, blank_id=0)
        np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(ValueError, match="renormalise"):
        frame_confidence(log_probs, "ignore")


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
    frontend = ConfidenceFrontend(scorer, encoder)
    lengths, starts = [40, 25, 1], [0, 5000, 100]
    confidence = np.zeros((3, 40), np.float32)
    for row, length in enumerate(lengths):
        confidence[row, :length] = rng.random(length)
    got = frontend(
        torch.from_numpy(confidence),
        torch.tensor(lengths),
        60,
        torch.tensor(starts),
    )
    for row, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        centres = start + 200.0 + 320 * np.arange(60)
        known = 480.0 + 640 * np.arange(length)
        want = np.interp(centres, known, confidence[row, :length])
        np.testing.assert_allclose(got[row], want, atol=1e-5)


def test_same_grid_is_the_identity():
    confidence = torch.rand(2, 30)
    got = ConfidenceFrontend(GRID, GRID)(confidence, torch.tensor([30, 30]), 30)
    assert torch.equal(got, confidence)
    with pytest.raises(ValueError, match="8000 Hz"):
        ConfidenceFrontend(FrameGrid(8000, 0.0, 80), GRID)


def test_crops_keep_confidences_aligned(short_utterances):
    """A confidence that is a function of the audio stays one after cropping.

    The confidence of a frame is taken to be the audio's level around the frame's
    centre. After a random crop the level of the cropped audio around the encoder's
    frames must equal the confidence that arrives there.
    """
    from espnet_a2m.collate import A2MCollateFn

    def level(audio, centres):
        return np.array(
            [np.abs(audio[int(c) - 100 : int(c) + 100]).mean() for c in centres]
        )

    items = []
    for utt_id, path, _ in short_utterances[:4]:
        audio = soundfile.read(path, dtype="float32")[0][:60000]
        centres = 480.0 + 640 * np.arange(GRID.num_frames(len(audio)))
        items.append((utt_id, {"speech": audio, "confidence": level(audio, centres)}))
    np.random.seed(0)
    starts = []
    for _ in range(5):
        _, batch = A2MCollateFn(16000, True, crop_duration=1.2)(items)
        starts += batch["speech_start"].tolist()
        frames = GRID.num_frames(batch["speech"].size(1))
        got = ConfidenceFrontend(GRID, GRID)(
            batch["confidence"],
            batch["confidence_lengths"],
            frames,
            batch["speech_start"],
        )
        for row, (_, streams) in enumerate(items):
            start = int(batch["speech_start"][row])
            # the frames of the whole utterance on either side of each centre
            known = 480.0 + 640 * np.arange(len(streams["confidence"]))
            centres = start + 480.0 + 640 * np.arange(frames)
            want = np.interp(centres, known, level(streams["speech"], known))
            np.testing.assert_allclose(got[row], want, atol=1e-5)
            crop = streams["speech"][start : start + 19200]
            np.testing.assert_array_equal(batch["speech"][row][: len(crop)], crop)
    assert len(set(starts)) > 10  # it did crop, and not always at one place
