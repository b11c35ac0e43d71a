"""Read parts of audio files, refusing what would spoil a training run later."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data import decoded
from espnet_a2m.data.archives import is_archive_entry, open_regular, read_audio_bytes
from espnet_a2m.data.containers import Claim, mp3_samples, ogg_is_complete, read_claim

T = TypeVar("T")
MIX = -1  # in place of a channel: the mean of all
RATES = range(1000, 768_001)  # Hz; others are of a damaged header
BLOCK = 1 << 22  # samples; what a header promises is not allocated at once
SHORTENED = "compressed by shorten, which libsndfile cannot read"
LOUDEST = 10.0  # float samples beyond this were surely not scaled to [-1, 1]
UNEXPLAINED = 0.1  # seconds of data, such as tags, that a header need not explain
MOST_FRAMES = 1 << 62  # beyond it, libsndfile does not know how many there are


#: libsndfile's formats that say how long they are, or that `_knows_length` looks into
FORMATS = {
    *("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "HTK"),
    *("FLAC", "OGG", "MP3"),
}


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


class Recording:
    """An audio file opened once, of which parts are read.

    libsndfile reads what it can tell the length of; FFmpeg decodes the rest to a
    temporary file.

    Args:
        path: the file, or "<file>:<offset>" in a Kaldi archive; never a command.
        channel: the one to read, from 0, or MIX; None asks for a mono file.
        name: what errors call it [path].

    Raises DataError for a file that is missing, unreadable, truncated or empty.
    """

    def __init__(
        self, path: str, channel: int | None = None, name: str | None = None
    ) -> None:
        self.name = name or path
        self.channel = channel
        try:
            if is_archive_entry(path):
                self._file: Any = self._open(io.BytesIO(read_audio_bytes(path)))
            else:
                with open_regular(path) as stream:
                    self._file = self._open(stream, path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise self.error(f"cannot be opened ({reason})") from None
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

    def _open(self, stream: BinaryIO, path: str = "") -> Any:
        import soundfile

        head = stream.read(1024)
        if head.startswith(b"NIST_1A") and b"shorten" in head:  # its sample_coding
            raise self.error(SHORTENED, "unpack it by sph2pipe")
        if stream.seek(0, os.SEEK_END) == 0:
            raise self.error("the file has no bytes")
        claim = read_claim(stream)
        if claim and claim.size < claim.end:
            raise self.error(
                f"truncated: {claim.size} bytes, its header promises {claim.end}"
            )
        # opened again, as each has its own place in it; and not by its name, by which
        # libsndfile would look at the files beside it
        if isinstance(stream, io.BytesIO):
            source: Any = io.BytesIO(stream.getvalue())
        else:
            with open_regular(path) as again:
                source = os.dup(again.fileno())
        try:
            file = soundfile.SoundFile(source)
            if self._knows_length(file, stream, claim):
                return file if file.seekable() else decoded.copy_of(file)
            reason = ""
        except soundfile.LibsndfileError as error:
            reason = f"cannot be read as audio ({error.error_string}), "
        return self._ask(decoded.by_ffmpeg, stream, reason)

    def _ask(self, ffmpeg: Callable[[BinaryIO], T], stream: BinaryIO, reason: str) -> T:
        try:
            return ffmpeg(stream)
        except DataError as error:
            raise self.error(f"{reason}{error}") from None

    def _knows_length(self, file: Any, stream: BinaryIO, claim: Claim | None) -> bool:
        """Whether libsndfile knows the length. Raises DataError: it is cut off."""
        if file.format not in FORMATS:
            raise self.error(
                f"nothing in a {file.format} file says whether it is complete",
                "convert it, e.g. `sox in.wav out.wav`",
            )
        if not 0 < file.frames < MOST_FRAMES:
            return False
        length = file.frames / file.samplerate
        if claim:
            stream.seek(claim.rest)
            seconds = length * (claim.size - claim.rest) / claim.samples
            if seconds > UNEXPLAINED and any(stream.read(1 << 20)):
                raise self.error(
                    f"{seconds:.1f} s lie behind the end that its header tells",
                    "if they are audio, keep them by `ffmpeg -ignore_length 1 -i "
                    "in.wav out.wav`; if not, cut them off",
                )
        if file.format == "OGG" and not ogg_is_complete(stream):
            raise self.error(
                "truncated: its last page does not end the stream",
                "replace it; if nothing is missing, `ffmpeg -i in.ogg -c copy out.ogg`",
            )
        if file.format not in ("OGG", "MP3"):
            return True
        noted = length if file.format == "OGG" else 0.0
        if samples := mp3_samples(stream):
            noted = samples / file.samplerate
        coded = self._ask(decoded.coded_seconds, stream, "")
        if coded < noted - decoded.DELAY:
            raise self.error(
                f"truncated: {coded:.2f} s, its header promises {noted:.2f} s"
            )
        return bool(noted) and abs(coded - length) < decoded.DELAY

    def _check_header(self) -> None:
        _, _, rate, channels, _ = self.info
        if self.channel is None and channels != 1:
            raise self.error(
                f"has {channels} channels",
                "name the one you want in `segments`, or 'mix', or write it to a file "
                "of its own, e.g. `sox in.wav out.wav remix 1`",
            )
        if self.channel is not None and self.channel >= channels:
            problem = f"has no channel {self.channel} (from 0) but {channels}"
            raise self.error(problem, "correct `segments`")
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
            if self._file.tell() != start:
                self._file.seek(start)
            for first in range(start, stop, BLOCK):
                frames = min(BLOCK, stop - first)
                block = self._file.read(frames, dtype=dtype, always_2d=True)
                if self.channel == MIX:
                    mean = block.mean(axis=1)
                    parts.append(
                        (np.rint(mean) if dtype == "int16" else mean).astype(dtype)
                    )
                else:
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

    samples = to_float32(samples)  # to int16, soxr would add dither, other at each run
    return soxr.resample(samples, played, fs, quality="HQ")


def to_float32(samples: np.ndarray) -> np.ndarray:
    """Samples as float32 in [-1, 1]; int16 is scaled."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    return samples.astype(np.float32, copy=False)


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Round float samples to int16; int16 is left as it is.

    What goes beyond [-1, 1] is scaled down to it rather than clipped.
    """
    if samples.dtype == np.int16:
        return samples
    loudest = max(1.0, float(np.abs(samples).max(initial=0.0)))
    scaled = np.rint(samples.astype(np.float64) / loudest * 32768)
    return np.minimum(scaled, 32767).astype(np.int16)


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
    return to_float32(speech)
