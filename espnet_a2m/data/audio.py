"""Read parts of audio files, refusing what would spoil a training run later."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.archives import is_archive_entry, open_regular, read_audio_bytes

UNKNOWN_BYTES = 0x7FFF0000  # sizes from here on stand for "not known" (sox, ffmpeg)
RATES = range(1000, 768_001)  # Hz; others are of a damaged header
BLOCK = 1 << 22  # samples; what a header promises is not allocated at once
SHORTENED = "compressed by shorten, which libsndfile cannot read"
LOUDEST = 10.0  # float samples beyond this were surely not scaled to [-1, 1]


class AudioInfo(NamedTuple):
    """What the header of an audio file says: `frames` in samples, `rate` in Hz."""

    path: str
    frames: int
    rate: int
    channels: int
    is_pcm16: bool

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


def _sphere_end(head: bytes) -> int | None:
    """Where a SPHERE file's samples should end, in bytes, if its header says so."""
    fields = dict(re.findall(rb"^(\w+) -\w+ (\d+)", head, re.M))
    names = (b"sample_count", b"sample_n_bytes", b"channel_count")
    try:
        count, width, channels = (int(fields[name]) for name in names)
        return int(head.split(b"\n")[1]) + count * width * channels
    except (IndexError, KeyError, ValueError):
        return None


def _riff_end(stream: BinaryIO) -> int | None:
    """Where a RIFF file's sample data should end, in bytes, if its header says so."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            # Programs that write to a pipe leave 0 or about the largest number there.
            unknown = size == 0 or size >= UNKNOWN_BYTES
            return None if unknown else stream.tell() + size
        if size >= UNKNOWN_BYTES:
            return None
        stream.seek(size + size % 2, os.SEEK_CUR)
    return None


class Recording:
    """An audio file opened once, of which parts are read.

    Args:
        path: the file, or "<file>:<offset>" in a Kaldi archive; never a command.
        channel: the one to read, from 0; None asks for a mono file.
        name: what errors call it [path].

    Raises DataError for a file that is missing, unreadable, truncated or empty.
    """

    def __init__(
        self, path: str, channel: int | None = None, name: str | None = None
    ) -> None:
        import soundfile

        self.name = name or path
        self.channel = channel
        try:
            if is_archive_entry(path):
                stream: BinaryIO = io.BytesIO(read_audio_bytes(path))
            else:
                stream = open_regular(path)
            head, end = stream.read(1024), None
            if head.startswith(b"NIST_1A"):
                if b"shorten" in head:  # its sample_coding
                    raise self.error(SHORTENED, "unpack it by sph2pipe")
                end = _sphere_end(head)  # libsndfile believes the size of the file
            elif head[:4] == b"RIFF" and head[8:12] == b"WAVE":
                end = _riff_end(stream)
            size = stream.seek(0, os.SEEK_END)
            if size == 0:
                raise self.error("the file has no bytes")
            if size < (end or 0):
                raise self.error(f"truncated: {size} bytes, its header promises {end}")
            in_memory = isinstance(stream, io.BytesIO)
            stream.seek(0)
            self._file: Any = soundfile.SoundFile(stream if in_memory else path)
            if not in_memory:
                stream.close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise self.error(f"cannot be opened ({reason})") from None
        except soundfile.LibsndfileError as error:
            raise self.error(
                f"cannot be read as audio ({error.error_string})"
            ) from None
        file = self._file
        is_pcm16 = file.subtype == "PCM_16"
        #: What the header says
        self.info = AudioInfo(
            self.name, file.frames, file.samplerate, file.channels, is_pcm16
        )
        self._check_header()

    def error(
        self, problem: str, fix: str = "replace the file or remove its utterances"
    ) -> DataError:
        """What to raise for a problem with the file."""
        return DataError(f"{self.name}: {problem}; {fix}")

    def _check_header(self) -> None:
        _, frames, rate, channels, _ = self.info
        if self.channel is None and channels != 1:
            raise self.error(
                f"has {channels} channels",
                "name the one you want in `segments`, or write it to a file of its "
                "own, e.g. `sox in.wav out.wav remix 1`",
            )
        if self.channel is not None and self.channel >= channels:
            problem = f"has no channel {self.channel} (from 0) but {channels}"
            raise self.error(problem, "correct `segments`")
        if frames < 1:
            raise self.error("zero-length: no samples in it")
        if rate not in RATES:
            raise self.error(f"damaged header: a sampling rate of {rate} Hz")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start..stop: (stop - start,) int16 of a 16-bit file, else float32.

        Raises DataError for fewer samples than the header promised, NaN, infinities,
        or floats that are not scaled to [-1, 1].
        """
        import soundfile

        dtype = "int16" if self.info.is_pcm16 else "float32"
        parts = [np.zeros(0, dtype)]
        try:
            self._file.seek(start)
            for first in range(start, stop, BLOCK):
                frames = min(BLOCK, stop - first)
                block = self._file.read(frames, dtype=dtype, always_2d=True)
                parts.append(block[:, self.channel or 0])
                if len(block) < frames:
                    break
            samples = np.concatenate(parts)
            reason = f"only {len(samples)} of {stop - start} samples are there"
        except soundfile.LibsndfileError as error:
            samples, reason = np.zeros(0), error.error_string
        if len(samples) < stop - start:
            raise self.error(f"truncated or damaged at sample {start} ({reason})")
        if dtype == "float32":
            if bad := np.count_nonzero(~np.isfinite(samples)):
                raise self.error(f"{bad} samples are NaN or infinite")
            if (peak := np.abs(samples).max(initial=0.0)) > LOUDEST:
                problem = f"float samples reach {peak:g} where [-1, 1] is expected"
                raise self.error(problem, "scale it, e.g. divide by 32768")
        return samples

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def audio_info(path: str, channel: int | None = None) -> AudioInfo:
    """What the header of a file says. Raises DataError as `Recording`."""
    with contextlib.closing(Recording(path, channel)) as recording:
        return recording.info


def convert(samples: np.ndarray, rate: int, fs: int, speed: float = 1.0) -> np.ndarray:
    """Play `samples`, recorded at `rate` Hz, `speed` times as fast, at `fs` Hz.

    One band-limited resampling by soxr does both; 1.1 makes speech 10 % faster and
    higher. (n,) int16 or float32 in [-1, 1] become (about n * fs / (rate * speed),)
    float32, or are returned as they are where there is nothing to do.
    """
    played = rate * speed
    if abs(played - fs) < 1e-6 * fs:
        return samples
    import soxr

    if samples.dtype == np.int16:  # soxr would add dither, other at each run
        samples = samples.astype(np.float32) / 32768
    return soxr.resample(samples, played, fs, quality="HQ")


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round float samples in [-1, 1] to int16, clipping; int16 is left as it is."""
    if samples.dtype == np.int16:
        return samples
    scaled = np.rint(samples.astype(np.float64) * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def read_audio(utt_id: str, source: str, fs: int) -> np.ndarray:
    """Read one utterance of a formatted ``wav.scp``, mono at ``fs`` Hz.

    Returns (N,) float32 samples in [-1, 1]. Raises DataError where they are not so.
    """
    try:
        with contextlib.closing(Recording(source)) as recording:
            if recording.info.rate != fs:
                raise DataError(
                    f"{source}: {recording.info.rate} Hz where {fs} Hz are needed"
                )
            speech = recording.read(0, recording.info.frames)
    except DataError as e:
        raise DataError(
            f"utterance {utt_id}: {e}: format the audio with --fs {fs} (format_wav)"
        ) from None
    if speech.dtype == np.int16:
        speech = speech.astype(np.float32) / 32768
    return speech
