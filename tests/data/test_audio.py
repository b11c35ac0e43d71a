"""Audio files as programs leave them: all of their samples are read, or none."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.audio import Recording, to_pcm16
from espnet_a2m.data.streams import check_rate

pytestmark = pytest.mark.unit

FS = 16000
#: Container and coding of libsndfile -> samples by which a decoder may add to a file
CONTAINERS = {
    ("WAV", "PCM_16"): 0,
    ("WAV", "PCM_24"): 0,
    ("WAV", "FLOAT"): 0,
    ("WAV", "ULAW"): 0,
    ("WAV", "IMA_ADPCM"): 1024,
    ("WAV", "MS_ADPCM"): 1024,
    ("WAV", "GSM610"): 640,
    ("WAV", "NMS_ADPCM_32"): 320,
    ("AU", "G721_32"): 240,
    ("WAVEX", "PCM_16"): 0,
    ("RF64", "PCM_16"): 0,
    ("W64", "PCM_16"): 0,
    ("NIST", "PCM_16"): 0,
    ("AIFF", "PCM_16"): 0,
    ("AU", "PCM_16"): 0,
    ("CAF", "PCM_16"): 0,
    ("FLAC", "PCM_16"): 0,
    ("OGG", "VORBIS"): 0,
    ("OGG", "OPUS"): 0,
    ("MP3", "MPEG_LAYER_III"): 0,
}


@pytest.fixture(scope="module")
def speech(short_utterances) -> np.ndarray:
    """Three seconds of speech: an odd number of samples, float32."""
    _, path, _ = short_utterances[40]
    return soundfile.read(path, dtype="float32", frames=48001)[0]


def read(path: Path | str) -> np.ndarray:
    with contextlib.closing(Recording(str(path))) as recording:
        samples = recording.read(0, recording.info.frames)
        middle = recording.read(5000, 9000)  # and where a segment is
        np.testing.assert_allclose(middle, samples[5000:9000], atol=1e-6)
    return samples / 32768 if samples.dtype == np.int16 else samples


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    n = min(len(one), len(other))
    return float(np.corrcoef(one[:n], other[:n])[0, 1])


@pytest.mark.parametrize(("container", "coding"), CONTAINERS)
def test_a_complete_file_is_read_and_half_of_it_refused(
    tmp_path, speech, container, coding
):
    path = tmp_path / "a.audio"
    soundfile.write(path, speech, FS, coding, format=container)
    got = read(path)
    assert 0 <= len(got) - len(speech) <= CONTAINERS[container, coding]
    if container in ("WAV", "RF64"):  # as an entry of an archive
        content = path.read_bytes()
        head = b"utt AUDIO\4" + struct.pack("<I", len(content))
        (tmp_path / "a.ark").write_bytes(head + content)
        np.testing.assert_array_equal(read(f"{tmp_path}/a.ark:4"), got)
    if coding not in ("OPUS", "VORBIS", "MPEG_LAYER_III"):
        assert correlation(got, speech) > 0.95
    content = path.read_bytes()
    for end in (len(content) // 2 + 1, len(content) * 9 // 10):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"a\.audio: (truncated|cannot be)"):
            read(path)


def test_what_does_not_say_its_length_is_refused(tmp_path, speech):
    soundfile.write(tmp_path / "a", speech, FS, format="IRCAM")
    with pytest.raises(DataError, match="IRCAM file says whether it is complete; conv"):
        read(tmp_path / "a")


def first_mp3_frame(head: bytes) -> int:
    """Bytes of the first frame of an MPEG-1 layer III file."""
    rates = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    rate = [44100, 48000, 32000][head[2] >> 2 & 3]
    return 144 * rates[head[2] >> 4] * 1000 // rate + (head[2] >> 1 & 1)


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE", "CONSTANT"])
def test_an_mp3_without_a_note_of_its_length(tmp_path, speech, mode):
    loud_first = np.concatenate([speech, 1e-4 * speech, speech])
    path, bare, tagged = (tmp_path / f"{name}.mp3" for name in ("a", "bare", "tagged"))
    soundfile.write(
        path, loud_first, 32000, "MPEG_LAYER_III", format="MP3",
        bitrate_mode=mode, compression_level=0.5,
    )  # fmt: skip
    content = path.read_bytes()
    bare.write_bytes(content[first_mp3_frame(content) :])
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0x2C]) + bytes(300)
    tagged.write_bytes(tag + content)
    assert len(read(path)) == len(read(tagged)) == len(loud_first)
    # without the note nobody knows the encoder's delay, nor what fills the last frame
    assert 0 <= len(read(bare)) - len(loud_first) <= 2 * 1152
    # two files after each other: the note is of the first one alone
    path.write_bytes(content + content)
    assert 0 <= len(read(path)) - 2 * len(loud_first) <= 5 * 1152


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_an_ogg_file_of_a_minute_and_one_without_its_middle(tmp_path, speech, coding):
    # FFmpeg's times of Vorbis packets are off by a little at each page
    path, long = tmp_path / "a.ogg", np.tile(speech, 20)
    soundfile.write(path, long, FS, coding, format="OGG")
    assert len(read(path)) == len(long)
    content = path.read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS\\0", content)]
    first = next(i for i in pages if i > len(content) // 2)
    after = next(i for i in pages if i > first + 12000)  # 2 to 4 s
    path.write_bytes(content[:first] + content[after:])
    with pytest.raises(DataError, match=r"a\.ogg: truncated"):
        read(path)


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_ogg_files_after_each_other(tmp_path, speech, coding):
    parts = []
    for number in range(2):
        path = tmp_path / f"{number}.ogg"
        soundfile.write(path, speech[number * 1000 :], FS, coding, format="OGG")
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    total = 2 * len(speech) - 1000
    with contextlib.suppress(DataError):  # or a message that names the file
        assert len(read(path)) >= total - 100


def test_flac_of_unknown_length(tmp_path, speech):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, FS, "PCM_16")
    want = read(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of length, 128 of MD5
    content[22:42] = bytes(20)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), want)


@pytest.mark.parametrize(
    ("riff", "data"),
    [(2**32 - 1,) * 2, (0x7FFFF024, 0x7FFFF000), (2**31 - 1,) * 2]
    + [(2**31 + 36, 2**31), (0, 0), (0, None), (36, 0)],
)
def test_wav_headers_of_pipes(tmp_path, speech, riff, data):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, FS, "PCM_16")
    want, content = read(path), bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[4:8] = struct.pack("<I", riff)
    if data is not None:
        content[40:44] = struct.pack("<I", data)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), want)


def test_audio_behind_the_end_that_the_header_tells(tmp_path, speech):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech[:-1], FS, "PCM_16")
    want, content = read(path), bytearray(path.read_bytes())
    tags = b"LIST" + struct.pack("<I", 6000) + b"INFO" + bytes(range(256)) * 23
    tags += bytes(6008 - len(tags))
    for behind in (tags, bytes(9000), b"TAG" + bytes(range(125))):
        path.write_bytes(content + behind)
        np.testing.assert_array_equal(read(path), want)
    content[40:44] = struct.pack("<I", len(want))  # half: a recorder was interrupted
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.wav: 1\.\d s lie behind .*ignore_length"):
        read(path)


def test_a_chunk_of_odd_length_needs_no_filling(tmp_path, speech):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, FS, "PCM_U8")
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", len(speech))
    tags = b"LIST" + struct.pack("<I", 6000) + bytes([1]) * 6000
    path.write_bytes(content[: 44 + len(speech)] + tags)
    assert len(read(path)) == len(speech)


def encode(path: Path, speech: np.ndarray, codec: str, **options: str) -> None:
    """Write by FFmpeg."""
    pcm = to_pcm16(speech)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=FS, layout="mono", bit_rate=32000)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = FS, Fraction(1, FS), 0
        fitting = av.AudioResampler(stream.format, "mono", FS, stream.frame_size)
        for block in [*fitting.resample(frame), *fitting.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.aac", "aac"), ("a.mka", "flac"), ("a.wma", "wmav2")]
    + [("a.mp4", "aac")],
)
def test_what_libsndfile_cannot_read(tmp_path, speech, name, codec):
    path = tmp_path / name
    encode(path, speech, codec)
    got = read(path)
    assert -1200 <= len(got) - len(speech) <= 4096
    start = max(0, len(got) - len(speech))
    if codec != "wmav2":
        fits = [correlation(got[d:], speech) for d in range(0, start + 2100)]
        assert max(fits) > 0.9
    if name != "a.aac":  # whose frames say nothing of how many there are
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read(path)


def test_the_files_beside_it_are_left_alone(tmp_path, speech):
    path = tmp_path / "a.mp3"
    soundfile.write(path, speech, FS, "MPEG_LAYER_III", format="MP3")
    shutil.copy(__file__, tmp_path / "._a.mp3")  # as macOS leaves there, no audio
    assert len(read(path)) == len(speech)


def test_another_sampling_rate_is_found_before_training(tmp_path, speech):
    for rate in (FS, 44100):
        soundfile.write(tmp_path / f"{rate}.wav", speech, rate)
    table = tmp_path / "wav.scp"
    table.write_text(f"a {tmp_path}/{FS}.wav\nb {tmp_path}/44100.wav\n")
    with pytest.raises(DataError, match=r"wav.scp: 1 of 2 .* b \(44100 Hz\)"):
        check_rate([(str(table), "speech", "sound")], FS)
    with pytest.raises(DataError, match=r"1 of 2 .* 44100 Hz: utterance a"):
        check_rate([(str(table), "speech", "sound")], 44100)
    table.write_text("".join(f"u{i:05} {tmp_path}/{FS}.wav\n" for i in range(5000)))
    check_rate([(str(table), "speech", "sound")], FS)


def test_loud_audio_is_scaled_not_clipped(speech):
    loud = 3 * speech / np.abs(speech).max()
    pcm = to_pcm16(loud)
    assert np.abs(pcm.astype(int)).max() >= 32766
    np.testing.assert_allclose(pcm / 32767, loud / 3, atol=1e-4)
    quiet = speech / np.abs(speech).max() / 2
    np.testing.assert_allclose(to_pcm16(quiet) / 32768, quiet, atol=1 / 32768)


def test_damage_is_named_with_its_file(tmp_path, speech):
    """Bytes changed, cut off and added: all of the samples, or the file and why."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.audio"
    for container, coding in CONTAINERS:
        stream = io.BytesIO()
        soundfile.write(stream, speech, FS, coding, format=container)
        for kind in 6 * ("changed", "cut", "added"):
            content = bytearray(stream.getvalue())
            if kind == "changed":
                content[rng.integers(200)] = rng.integers(256)
            elif kind == "cut":
                del content[rng.integers(len(content)) :]
            else:
                content += rng.bytes(20000)
            path.write_bytes(content)
            try:
                with contextlib.closing(Recording(str(path), 0)) as recording:
                    samples = recording.read(0, recording.info.frames)
                assert kind == "changed" or len(samples) > len(speech) - 200
            except DataError as error:
                assert str(error).startswith(f"{path}: ")


#: Place and format of the number of bytes of samples in what libsndfile writes
SIZES = {
    "WAV": (40, "<I"),
    "RF64": (28, "<Q"),
    "W64": (96, "<Q"),
    "AIFF": (42, ">I"),
    "AU": (8, ">I"),
    "CAF": (0, ">q"),
}


@pytest.mark.parametrize("container", SIZES)
def test_a_wrong_length_in_the_header_loses_nothing_silently(
    speech, tmp_path, container
):
    stream = io.BytesIO()
    soundfile.write(stream, speech, FS, "PCM_16", format=container)
    content = stream.getvalue()
    at, number = SIZES[container]
    if container == "CAF":
        at = content.index(b"data") + 4
    (right,) = struct.unpack_from(number, content, at)
    assert abs(right - 2 * len(speech)) < 64
    path = tmp_path / "a.audio"
    for wrong in (0, 1, right // 3, right - 4000, right + 4000, 3 * right, 2**31 - 1):
        damaged = bytearray(content)
        struct.pack_into(number, damaged, at, wrong)
        path.write_bytes(damaged)
        try:
            assert len(read(path)) >= len(speech), wrong
        except DataError as error:
            assert str(error).startswith(str(path))
