"""The index of a large corpus that is not there: millions of lines, few bytes of audio.

Keys look like Libri-Light's, paths like those of stages 3 and 8. Tables are as long as
real ones; every archive and recording is a symbolic link to one that has the entries of
all of them, so that every line of every table leads to something that can be read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import kaldiio
import numpy as np
import soundfile

FS = 16000
PERIOD = 50  # utterances after which durations repeat
UTTS_IN_RECORDING = 50
ARCHIVE_UTTS = 200  # of formatted audio
CHUNK_UTTS = 500  # of confidences
TITLES = ("sea_fairies", "bleak_house", "walden", "moby_dick_or_the_whale", "emma")

ORG = Path("dump/raw/org/pretrain")
DATA = Path("dump/raw/pretrain")
CONFIDENCE = Path("exp/confidence/pretrain")
RAW = Path("data/pretrain")


def durations() -> np.ndarray:
    """(PERIOD,) samples: 4 to 32 s, 21.6 s on average, as 60 kh in 10 M utterances."""
    rng = np.random.default_rng(0)
    seconds = rng.uniform(4, 32, PERIOD)
    return ((seconds + 21.6 - seconds.mean()).clip(4, 32) * FS).astype(int)


def keys(count: int) -> Iterator[tuple[str, str, str]]:
    """(utterance, recording, speaker) in the order of `LC_ALL=C sort`."""
    for i in range(count):
        number, utt = divmod(i, UTTS_IN_RECORDING)
        speaker = f"large-{number // 28:05d}"
        title = TITLES[(number // 28) % len(TITLES)]
        recording = f"{speaker}-{title}_{number % 28:04d}_librivox_64kb_mp3"
        yield f"{recording}-{utt:05d}", recording, speaker


def audio_archive(path: Path) -> list[int]:
    """Write an archive of ARCHIVE_UTTS near-silent FLAC files; their offsets."""
    archive, offsets = io.BytesIO(), []
    rng = np.random.default_rng(1)
    for samples in np.resize(durations(), ARCHIVE_UTTS):
        speech = np.zeros(samples, np.int16)
        speech[FS // 2 : FS] = rng.normal(0, 500, FS // 2)
        flac = io.BytesIO()
        soundfile.write(flac, speech, FS, "PCM_16", format="FLAC")
        archive.write(b"x" * 46 + b" ")
        offsets.append(archive.tell())
        content = flac.getvalue()
        archive.write(b"AUDIO\x04" + len(content).to_bytes(4, "little") + content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive.getvalue())
    return offsets


def confidence_archive(path: Path) -> list[int]:
    """Write an archive of CHUNK_UTTS confidences; their offsets."""
    rng = np.random.default_rng(2)
    table = {
        f"{i:045d}": rng.uniform(0, 1, (1 + (n - 480) // 640, 1)).astype(np.float32)
        for i, n in enumerate(np.resize(durations(), CHUNK_UTTS))
    }
    scp = path.with_suffix(".scp")
    path.parent.mkdir(parents=True, exist_ok=True)
    kaldiio.save_ark(str(path), table, scp=str(scp), compression_method=7)
    return [int(line.rpartition(":")[2]) for line in scp.read_text().splitlines()]


def link(target: Path, path: Path) -> None:
    """A symbolic link that may be there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target.absolute())


def make_index(count: int) -> None:
    """Write the index of `count` utterances into the current directory.

    RAW is as stage 1 leaves it, ORG as stage 3.
    """
    number = durations().tolist()
    wav = Path("corpus/recording.wav")
    wav.parent.mkdir(exist_ok=True)
    soundfile.write(wav, np.zeros(FS, np.int16), FS)
    audio = audio_archive(Path("corpus/audio.ark"))
    for folder in (RAW, ORG, CONFIDENCE):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        open(RAW / "wav.scp", "w") as recordings,
        open(RAW / "segments", "w") as segments,
        open(RAW / "utt2spk", "w") as raw_utt2spk,
        open(ORG / "wav.scp", "w") as wav_scp,
        open(ORG / "utt2spk", "w") as utt2spk,
        open(ORG / "spk2utt", "w") as spk2utt,
        open(ORG / "utt2num_samples", "w") as utt2num_samples,
    ):
        last_speaker = ""
        for i, (utt, recording, speaker) in enumerate(keys(count)):
            if i % UTTS_IN_RECORDING == 0:
                path = Path("corpus") / speaker / f"{recording}.wav"
                link(wav, path)
                recordings.write(f"{recording} {path}\n")
            if i % ARCHIVE_UTTS == 0:
                archive = ORG / "data" / f"{i // ARCHIVE_UTTS}.ark"
                link(Path("corpus/audio.ark"), archive)
            start = 0.01 * (i % UTTS_IN_RECORDING)
            segments.write(f"{utt} {recording} {start:.3f} {start + 0.005:.3f}\n")
            raw_utt2spk.write(f"{utt} {speaker}\n")
            wav_scp.write(f"{utt} {archive}:{audio[i % ARCHIVE_UTTS]}\n")
            utt2spk.write(f"{utt} {speaker}\n")
            utt2num_samples.write(f"{utt} {number[i % PERIOD]}\n")
            if speaker != last_speaker:
                spk2utt.write(f"\n{speaker}" if last_speaker else speaker)
                last_speaker = speaker
            spk2utt.write(f" {utt}")
        spk2utt.write("\n")
    for name, note in (("fs", FS), ("audio_format", "flac.ark"), ("feats_type", "raw")):
        (ORG / name).write_text(f"{note}\n")


def make_scores(count: int) -> None:
    """Write what scoring jobs leave: all chunks, not yet merged."""
    from espnet_a2m.data.shards import chunk_folder

    confidences = confidence_archive(Path("corpus/confidence.ark"))
    with open(ORG / "wav.scp", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    grid = {"fs": FS, "offset": 480.0, "stride": 640}
    metadata = {"scorer": "energy", "conf": {"fs": FS}, "description": {}}
    content = json.dumps({**metadata, "grid": grid, "wav_scp": digest}, sort_keys=True)
    folder = chunk_folder(CONFIDENCE, content)
    folder.mkdir(parents=True, exist_ok=True)
    (CONFIDENCE / "metadata.json").write_text(content)
    utts = keys(count)
    for chunk in range(-(-count // CHUNK_UTTS)):
        stem = folder / f"{chunk:06d}"
        link(Path("corpus/confidence.ark"), Path(f"{stem}.ark"))
        names = [utt for utt, *_ in itertools.islice(utts, CHUNK_UTTS)]
        lines = (
            f"{utt} {stem}.ark:{offset}\n" for utt, offset in zip(names, confidences)
        )
        Path(f"{stem}.scp").write_text("".join(lines))
        Path(f"{stem}.value").write_text("".join(f"{u} 0.500000\n" for u in names))
