"""Decoded copies of audio in which libsndfile cannot seek, or of which it does not know
the length; what it does not know at all is decoded by FFmpeg.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.containers import mp3_samples

#: Formats whose header has the length, so that a file that was cut off can be told
KNOW_LENGTH = ("mov", "matroska", "asf")
#: Seconds by which decoders may differ: an encoder's delay, filling of the last frame
DELAY = 0.3
BLOCK = 1 << 20  # samples
VORBIS_BLOCK = 4096  # samples that a packet adds at most


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
    except DataError:
        raise
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be decoded ({reason})") from None


def coded_seconds(stream: BinaryIO) -> float:
    """Length of all packets, which are not decoded.

    FFmpeg takes a Vorbis packet at the start of a page for shorter than it is, so that
    the next one seems to come late: by less than a block, and a missing page by more.
    """
    with _first_track(stream) as (container, track):
        total, expected = 0, None
        for packet in container.demux(track):
            duration = packet.duration or 0
            if packet.pts is not None and expected is not None:
                late = packet.pts - expected
                if 0 < late * track.time_base * track.rate <= VORBIS_BLOCK:
                    total += late
            if packet.pts is not None:
                expected = packet.pts + duration
            total += duration
        return float(total * track.time_base)


def _write(blocks: Iterable[np.ndarray], rate: int, channels: int) -> Any:
    """(n, channels) blocks in a temporary file, opened by soundfile at its start."""
    import soundfile

    with tempfile.TemporaryFile() as file:
        descriptor = os.dup(file.fileno())
    copy = soundfile.SoundFile(descriptor, "w+", rate, channels, "FLOAT", format="W64")
    for block in blocks:
        try:
            copy.write(block)
        except soundfile.LibsndfileError as error:
            folder = tempfile.gettempdir()
            raise DataError(
                f"its decoded copy cannot be written to {folder} ({error.error_string})"
            ) from None
    copy.seek(0)
    return copy


def copy_of(file: Any) -> Any:
    """Copy what soundfile has opened, from its start."""

    def blocks() -> Iterator[np.ndarray]:
        while len(block := file.read(BLOCK, "float32", always_2d=True)):
            yield block

    return _write(blocks(), file.samplerate, file.channels)


def by_ffmpeg(stream: BinaryIO) -> Any:
    """Decode all of a file to a temporary one of float32, opened by soundfile.

    Raises DataError, without the file's name.
    """
    import av

    def blocks() -> Iterator[np.ndarray]:
        as_float = av.AudioResampler(format="flt")
        for frame in itertools.chain([first], frames):
            for block in as_float.resample(frame):
                yield block.to_ndarray().reshape(-1, channels)

    with _first_track(stream) as (container, track):
        frames = container.decode(track)
        if (first := next(frames, None)) is None:
            raise DataError("zero-length: no samples in it")
        channels = first.layout.nb_channels
        copy = _write(blocks(), first.sample_rate, channels)
        promised = 0.0
        if container.format.name.startswith(KNOW_LENGTH):
            promised = (container.duration or 0) / av.time_base
    seconds = copy.frames / copy.samplerate
    promised = promised or (mp3_samples(stream) or 0) / copy.samplerate
    if seconds < promised - DELAY:
        raise DataError(
            f"truncated: {seconds:.2f} s, its header promises {promised:.2f} s"
        )
    return copy
