"""Audio that scorers are asked about."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="module")
def audio(short_utterances) -> dict[str, np.ndarray]:
    """Utterances of 1.6 s to 4.2 s, not in order of length."""
    chosen = sorted(short_utterances[::15])
    return {utt: soundfile.read(path, dtype="float32")[0] for utt, path, _ in chosen}
