"""Random crops cut the streams beside the audio in the same place."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.model.frontend import ConfidenceFrontend
from espnet_a2m.training.collate import A2MCollateFn

pytestmark = pytest.mark.espnet

GRID = FrameGrid(16000, 480.0, 640)  # log-mel every 10 ms, 4x subsampled


def test_crops_keep_confidences_aligned(short_utterances):
    """A confidence that is a function of the audio stays one after cropping.

    The confidence of a frame is taken to be the audio's level around the frame's
    centre. After a random crop the level of the cropped audio around the encoder's
    frames must equal the confidence that arrives there.
    """

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
        got, _ = ConfidenceFrontend(GRID, GRID)(
            batch["speech"], batch["speech_lengths"], frames, batch
        )
        for row, (_, streams) in enumerate(items):
            start = int(batch["speech_start"][row])
            # the frames of the complete utterance on either side of each centre
            known = 480.0 + 640 * np.arange(len(streams["confidence"]))
            centres = start + 480.0 + 640 * np.arange(frames)
            want = np.interp(centres, known, level(streams["speech"], known))
            np.testing.assert_allclose(got[row], want, atol=1e-5)
            crop = streams["speech"][start : start + 19200]
            np.testing.assert_array_equal(batch["speech"][row][: len(crop)], crop)
    assert len(set(starts)) > 10  # it did crop, and not always at one place
