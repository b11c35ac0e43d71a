#!/usr/bin/env python3
"""Write DATA/pretrain_raw: the prompts of pretrain in long recordings, uncleaned.

A recording has the prompts of one language in random order. Between them, for about
three fifths of the time, it has room tone, noise or music; room tone is everywhere.
Utterances are pieces of 15 to 30 s, wherever they begin. DATA/pretrain_raw/ctm says
what is where: speech, noise and music; the rest is room tone.

Music is real. Room tone and noise are synthesised: pink and brown noise, with a hum.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from decode import FS, read_g722, run_all, write_flac
from get_sounds import LANGUAGES, MUSIC
from rooms import generator, rms
from tqdm import tqdm

from espnet_a2m.core.errors import main_guard
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.datadir import DataDir, Segment, write_data_dir

RECORDING = 300.0  # seconds of a recording, or more, by one prompt and a pause
PIECE = 15.0  # seconds of an utterance
SPEECH_SHARE = 0.4
PAUSE_SPREAD = 0.5, 1.5  # a pause is so many times its mean, which a prompt determines
PAUSES = {"tone": 0.4, "noise": 0.3, "music": 0.3}  # what is in them
#: dB of full scale, root mean square; a prompt's is -20 to -25
LEVELS = {"tone": (-65.0, -50.0), "noise": (-45.0, -25.0), "music": (-40.0, -20.0)}
SLOPES = 0.5, 1.0  # of the noise's amplitude, from pink to brown
HUM = 50.0, 0.3  # Hz; its amplitude beside the room tone's


class Part(NamedTuple):
    """What a recording has from ``start``, in samples; "tone" is room tone alone."""

    kind: str
    start: int
    samples: np.ndarray


def coloured_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """(length,) noise between pink and brown, root mean square 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.fft.rfftfreq(length, 1 / FS)
    spectrum *= np.maximum(hertz, 20.0) ** -rng.uniform(*SLOPES)
    noise = np.fft.irfft(spectrum, length)
    return noise / rms(noise)


def draw_level(kind: str, rng: np.random.Generator) -> float:
    """A root mean square for ``kind``."""
    return float(10 ** (rng.uniform(*LEVELS[kind]) / 20))


def draw_pause(
    length: int, music: list[np.ndarray], rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    """What is in a pause, and its (length,) samples, without the room tone."""
    kind = str(rng.choice(list(PAUSES), p=list(PAUSES.values())))
    if kind == "tone":
        return kind, np.zeros(length)
    if kind == "noise":
        samples = coloured_noise(length, rng)
    else:
        piece = music[rng.integers(len(music))]
        first = rng.integers(len(piece))
        samples = piece.take(range(first, first + length), mode="wrap")
        samples = samples / rms(samples)
    return kind, samples * draw_level(kind, rng)


def compose(
    prompts: list[np.ndarray], music: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, list[Part]]:
    """A recording of (n,) samples, and its parts in order.

    Args:
        prompts: float samples, in order.
        music: float samples of pieces.
        rng: draws everything else.
    """
    parts, end = [], 0
    for prompt in prompts:
        pause = len(prompt) * (1 / SPEECH_SHARE - 1) * rng.uniform(*PAUSE_SPREAD)
        kind, samples = draw_pause(int(pause), music, rng)
        parts += [Part(kind, end, samples), Part("speech", end + len(samples), prompt)]
        end += len(samples) + len(prompt)
    hertz, hum = HUM
    tone = coloured_noise(end, rng)
    tone += hum * np.sin(2 * np.pi * hertz * np.arange(end) / FS)
    recording = tone * draw_level("tone", rng)
    for part in parts:
        recording[part.start : part.start + len(part.samples)] += part.samples
    return recording, parts


def pieces_of(name: str, length: int) -> Iterator[tuple[str, Segment]]:
    """Utterances of a recording of ``length`` samples: id, and where it is."""
    seconds = length / FS
    starts = [PIECE * i for i in range(max(1, int(seconds // PIECE)))]
    ends = [*starts[1:], seconds]  # the last piece is the longest
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        yield f"{name}_{i:03d}", Segment(name, start, end)


def ctm_lines(name: str, length: int, parts: list[Part]) -> Iterator[str]:
    """A CTM of the utterances of a recording: id, channel, start, duration, kind."""
    for utt, piece in pieces_of(name, length):
        for kind, start, samples in parts:
            first = max(start / FS, piece.start)
            last = min((start + len(samples)) / FS, piece.end)
            if kind != "tone" and last > first:
                begin = first - piece.start
                yield f"{utt} 1 {begin:.3f} {last - first:.3f} {kind}\n"


class Recording(NamedTuple):
    """A recording to write."""

    name: str
    prompts: list[str]  # files
    music: tuple[Path, ...]
    audio: Path
    ctm: Path


@functools.cache
def read_music(paths: tuple[Path, ...]) -> list[np.ndarray]:
    """Float samples; read once in each process."""
    return [read_g722(path) / 32768 for path in paths]


def _write(job: Recording) -> None:
    prompts = [soundfile.read(path)[0] for path in job.prompts]
    recording, parts = compose(prompts, read_music(job.music), generator(job.name))
    loudest = np.abs(recording).max()
    recording *= min(1.0, 0.95 / loudest)
    write_atomic(job.ctm, "".join(ctm_lines(job.name, len(recording), parts)))
    write_flac(job.audio, np.rint(recording * 32767).astype(np.int16))


def plan(pretrain: DataDir, folder: Path, music: tuple[Path, ...]) -> list[Recording]:
    """The recordings: of each language as many as its prompts fill."""
    jobs = []
    for language in LANGUAGES:
        utts = sorted(u for u in pretrain.wav_scp if u.startswith(f"{language}_"))
        generator(f"order {language}").shuffle(utts)
        groups: list[list[str]] = [[]]
        seconds = 0.0
        for utt in utts:
            if seconds >= RECORDING * SPEECH_SHARE:
                groups.append([])
                seconds = 0.0
            groups[-1].append(pretrain.wav_scp[utt])
            seconds += soundfile.info(pretrain.wav_scp[utt]).duration
        for i, prompts in enumerate(groups):
            name = f"{language}_raw{i:02d}"
            audio, ctm = folder / f"{name}.flac", folder / f"{name}.ctm"
            jobs.append(Recording(name, prompts, music, audio, ctm))
    return jobs


def prepare(downloads: Path, data: Path, nj: int) -> None:
    """Write the set. ``data/pretrain`` and the music are there."""
    pretrain = DataDir.load(data / "pretrain")
    music = tuple(sorted((downloads / "sounds" / MUSIC).glob("*.g722")))
    content = Path(__file__).read_bytes() + repr(sorted(pretrain.wav_scp)).encode()
    folder = downloads / "raw" / hashlib.sha256(content).hexdigest()[:8]
    jobs = plan(pretrain, folder, music)
    run_all(_write, [job for job in jobs if not job.audio.exists()], nj, "recordings")
    segments: dict[str, Segment] = {}
    languages: dict[str, str] = {}
    lines = []
    for job in tqdm(jobs, "pretrain_raw", unit="recording"):
        length = soundfile.info(job.audio).frames
        pieces = dict(pieces_of(job.name, length))
        segments |= pieces
        languages |= dict.fromkeys(pieces, job.name.partition("_")[0])
        lines.append(job.ctm.read_text())
    tables = {"utt2spk": languages, "utt2lang": languages}
    audio = {job.name: job.audio for job in jobs}
    write_data_dir(data / "pretrain_raw", audio, tables, segments)
    write_atomic(data / "pretrain_raw" / "ctm", "".join(lines))
    minutes = sum(x.end - x.start for x in segments.values()) / 60
    print(f"{data / 'pretrain_raw'}: {len(segments)} utterances, {minutes:.1f} min")


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--downloads", type=Path, default=Path("downloads"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--nj", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    prepare(args.downloads, args.data, args.nj)


if __name__ == "__main__":
    main()
