"""Meetings are not decoded once per segment: what stage 3 reads of a long recording."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_a2m.data.datadir import Segment, write_data_dir
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.unit

FS = 16000
MINUTES = 30
COUNT = 200


def bytes_read() -> int:
    """What this process has read from files by now."""
    counters = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in counters)["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts by Linux")
def test_stage_3_reads_what_utterances_last(tmp_path, capsys):
    from espnet_a2m.data.formatting import format_wav

    recording = tmp_path / "meeting.wav"
    ramp = np.resize(np.arange(30011, dtype=np.int16), MINUTES * 60 * FS)
    stereo = np.stack([ramp, -ramp], 1)
    soundfile.write(recording, stereo, FS)
    starts = np.linspace(0, MINUTES * 60 - 1, COUNT).round(2)
    segments = {
        f"a-{i:03d}": Segment("meeting", float(start), float(start) + 0.5, i % 2)
        for i, start in enumerate(starts)
    }
    utt2spk = dict.fromkeys(segments, "a")
    source = tmp_path / "data"
    write_data_dir(source, {"meeting": recording}, {"utt2spk": utt2spk}, segments)
    before, began = bytes_read(), time.perf_counter()
    format_wav.main(["--audio_format", "wav", str(source), str(tmp_path / "dump")])
    read = bytes_read() - before
    print(f"{read:,} bytes in {time.perf_counter() - began:.2f} s")
    needed = COUNT * FS // 2 * 2 * 2  # half a second, two channels, two bytes
    assert needed < read < 3 * needed < recording.stat().st_size / 5, read
    written = read_scp(tmp_path / "dump" / "wav.scp")
    for utt, segment in segments.items():
        samples, _ = soundfile.read(written[utt], dtype="int16")
        first = round(segment.start * FS)
        expected = stereo[first : first + len(samples), segment.channel]
        assert len(samples) == FS // 2 and np.array_equal(samples, expected)
