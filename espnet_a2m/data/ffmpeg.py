"""Audio that libsndfile cannot read, or whose length it only estimates, by FFmpeg."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.containers import mp3_samples

#: Formats whose header has the length, so that a file that was cut off can be told
KNOW_LENGTH = ("mov", "matroska", "asf")
#: Seconds by which decoders may differ: an encoder's delay, filling of the last frame
DELAY = 0.3


@contextmanager
def _first_track(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """FFmpeg's container and first audio track.

    Raises DataError, without the file's name, for what is damaged or no audio.
    """
    import av

    stream.seek(0)
    try:
        # a playlist may not lead to other files
        with av.open(stream, options={"protocol_whitelist": "none"}) as container:
            if not container.streams.audio:
                raise DataError("there is no audio in it")
            yield container, container.streams.audio[0]
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be decoded ({reason})") from None


def coded_seconds(stream: BinaryIO) -> float:
    """Length of all packets, which are not decoded."""
    with _first_track(stream) as (container, track):
        total = sum(packet.duration or 0 for packet in container.demux(track))
        return float(total * track.time_base)


def decode(stream: BinaryIO) -> Any:
    """Decode all of a file to a temporary one of float32, opened by soundfile.

    Raises DataError, without the file's name.
    """
    import av
    import soundfile

    copy: Any = None
    with _first_track(stream) as (container, track):
        as_float = av.AudioResampler(format="flt")
        for frame in container.decode(track):
            if copy is None:
                rate, channels = frame.sample_rate, frame.layout.nb_channels
                with tempfile.TemporaryFile() as file:
                    copy = soundfile.SoundFile(
                        os.dup(file.fileno()),
                        *("w+", rate, channels, "FLOAT"),
                        format="W64",
                    )
            for block in as_float.resample(frame):
                copy.write(block.to_ndarray().reshape(-1, channels))
        if copy is None:
            raise DataError("zero-length: no samples in it")
        promised = 0.0
        if container.format.name.startswith(KNOW_LENGTH):
            promised = (container.duration or 0) / av.time_base
    seconds = copy.frames / rate
    promised = promised or (mp3_samples(stream) or 0) / rate
    if seconds < promised - DELAY:
        raise DataError(
            f"truncated: {seconds:.2f} s, its header promises {promised:.2f} s"
        )
    copy.seek(0, os.SEEK_SET)
    return copy
