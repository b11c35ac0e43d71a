"""Read parts of audio files, refusing what would spoil a training run later."""

from __future__ import annotations

import contextlib
import os
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from espnet_a2m.errors import DataError

LOUDEST = 10.0  # float samples beyond this were surely not scaled to [-1, 1]


class AudioInfo(NamedTuple):
    """What the header of a mono audio file says.

    Attributes:
        frames: length in samples.
        rate: sampling rate in Hz.
        is_pcm16: samples are 16-bit integers.
    """

    frames: int
    rate: int
    is_pcm16: bool


def _claimed_wav_bytes(stream: BinaryIO) -> int | None:
    """Where a RIFF file's sample data should end, in bytes, if its header says so."""
    if stream.read(4) != b"RIFF" or stream.read(8)[4:] != b"WAVE":
        return None
    while len(head := stream.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            # Programs that write to a pipe leave 0 or the largest number there.
            return None if size in (0, 0xFFFFFFFF) else stream.tell() + size
        if size >= 0x7FFFFF00:
            return None
        stream.seek(size + size % 2, os.SEEK_CUR)
    return None


def _refuse(path: str, problem: str, fix: str) -> DataError:
    return DataError(f"{path}: {problem}; {fix}")


class Recording:
    """An audio file opened once, of which parts are read.

    Raises:
        DataError: the file is missing, unreadable, truncated, empty or multi-channel.
    """

    def __init__(self, path: str) -> None:
        import soundfile

        self.path = path
        replace = "replace the file or remove its utterances"
        try:
            with open(path, "rb") as stream:
                end = _claimed_wav_bytes(stream)
            size = os.path.getsize(path)
            if size == 0:
                raise _refuse(path, "the file has no bytes", replace)
            if end is not None and size < end:
                raise _refuse(
                    path,
                    f"truncated: {size} bytes where its header promises {end}",
                    replace,
                )
            self._file: Any = soundfile.SoundFile(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise _refuse(path, f"cannot be opened ({reason})", replace) from None
        except soundfile.LibsndfileError as error:
            raise _refuse(
                path, f"cannot be read as audio ({error.error_string})", replace
            ) from None
        try:
            self._check_header(replace)
        except DataError:
            self._file.close()
            raise

    def _check_header(self, replace: str) -> None:
        if self._file.channels != 1:
            raise _refuse(
                self.path,
                f"has {self._file.channels} channels",
                "write the channel you want to a file of its own, e.g. "
                "`sox in.wav out.wav remix 1`",
            )
        if self._file.frames < 1:
            raise _refuse(self.path, "zero-length: no samples in it", replace)

    @property
    def info(self) -> AudioInfo:
        """Length, rate and sample type."""
        is_pcm16 = self._file.subtype == "PCM_16"
        return AudioInfo(self._file.frames, self._file.samplerate, is_pcm16)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read samples start..stop, seeking to them.

        Returns:
            int16 (stop - start,) of a 16-bit file, else float32 in [-1, 1].

        Raises:
            DataError: fewer samples than the header promised, NaN, infinities, or
                floats that are not scaled to [-1, 1].
        """
        import soundfile

        dtype = "int16" if self.info.is_pcm16 else "float32"
        try:
            self._file.seek(start)
            samples = self._file.read(stop - start, dtype=dtype)
            reason = f"only {len(samples)} of {stop - start} samples are there"
        except soundfile.LibsndfileError as error:
            samples, reason = np.zeros(0), error.error_string
        if len(samples) < stop - start:
            raise _refuse(
                self.path,
                f"truncated or damaged at sample {start} ({reason})",
                "replace the file or remove its utterances",
            )
        if dtype == "float32":
            self._check_floats(samples)
        return samples

    def _check_floats(self, samples: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(samples))
        if bad.size:
            raise _refuse(
                self.path,
                f"{bad.size} samples are NaN or infinite",
                "replace the file or remove its utterances",
            )
        peak = float(np.abs(samples).max(initial=0.0))
        if peak > LOUDEST:
            raise _refuse(
                self.path,
                f"float samples reach {peak:g} where [-1, 1] is expected",
                "scale it, e.g. divide by 32768",
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def audio_info(path: str) -> AudioInfo:
    """Length, rate and sample type of a file. Raises DataError as `Recording`."""
    with contextlib.closing(Recording(path)) as recording:
        return recording.info


def convert(samples: np.ndarray, rate: int, fs: int, speed: float = 1.0) -> np.ndarray:
    """Play `samples`, recorded at `rate` Hz, `speed` times as fast; resample to `fs`.

    One band-limited resampling by soxr does both. Nothing to do: returned as they are.

    Args:
        samples: (n,) int16, or float32 in [-1, 1].
        rate: their sampling rate in Hz.
        fs: sampling rate of the result in Hz.
        speed: 1.1 makes speech 10 % faster and higher.

    Returns:
        (about n * fs / (rate * speed),) float32, or the input itself.
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
