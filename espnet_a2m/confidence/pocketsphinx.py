"""PocketSphinx as a scorer: its words, their times and posteriors as a CTM file.

Its recogniser of US English comes in its wheel: nothing else is needed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from espnet_a2m.confidence.ctm import Word
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.audio import read_audio, to_pcm16
from espnet_a2m.data.tables import read_scp

try:
    from pocketsphinx import Decoder
except ImportError as e:
    raise UserError(f"pip install espnet_a2m[pocketsphinx] ({e})") from e

#: What the model in the wheel was trained on
FS = 16000
#: Its frames: windows of 25.6 ms every 10 ms
GRID = FrameGrid(fs=FS, offset=0.0, stride=1).after([(410, 160, 0)])
DONE = ";; done "


class PocketSphinx:
    """The recogniser with the model in its wheel."""

    def __init__(self) -> None:
        self.decoder = Decoder(loglevel="FATAL")

    def __call__(self, speech: np.ndarray) -> list[Word]:
        """Recognise (N,) float samples at 16 kHz.

        The confidence of a word is its posterior in the lattice of what the search
        kept, so it is high where no other word survived.
        """
        # forget the noise and the mean of earlier utterances: the order may not matter
        self.decoder.reinit_feat()
        self.decoder.start_utt()
        self.decoder.process_raw(to_pcm16(speech).tobytes(), full_utt=True)
        self.decoder.end_utt()
        words = []
        for segment in self.decoder.seg() or ():
            if segment.word[0] in "<[+":  # silence and noise
                continue
            frames = segment.end_frame - segment.start_frame + 1
            begin = GRID.offset + (segment.start_frame - 0.5) * GRID.stride
            words.append(
                Word(
                    start=begin / FS,
                    duration=frames * GRID.stride / FS,
                    word=re.sub(r"\(\d+\)$", "", segment.word),  # a pronunciation
                    # rounding of its logarithms lets it exceed 1 by a little
                    confidence=min(segment.prob, 1.0),
                )
            )
        return words


_recogniser: PocketSphinx | None = None


def recognise(utt_id: str, source: str) -> list[Word]:
    """Words of an utterance; a process loads the model once.

    Raises:
        DataError: The audio cannot be read or is not at 16 kHz.
    """
    global _recogniser
    _recogniser = _recogniser or PocketSphinx()
    return _recogniser(read_audio(utt_id, source, FS))


def ctm_lines(utt_id: str, words: Iterable[Word]) -> str:
    """Words as lines of a CTM file."""
    return "".join(
        f"{utt_id} 1 {w.start:.4f} {w.duration:.4f} {w.word} {w.confidence:.4f}\n"
        for w in words
    )


def read_finished(path: Path, header: str) -> dict[str, str]:
    """Lines of the utterances that an earlier call with this header finished."""
    finished: dict[str, str] = {}
    if not path.exists():
        return finished
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines[:1] != [header]:
        return finished
    block = ""
    for line in lines[1:]:
        if line.startswith(DONE) and line.endswith("\n"):
            finished[line[len(DONE) : -1]] = block
            block = ""
        else:
            block += line
    return finished


def write_ctm(
    wav_scp: Path,
    output: Path,
    nj: int,
    durations: Mapping[str, float] | None = None,
) -> None:
    """Recognise a set; a second call goes on after the last utterance.

    Args:
        wav_scp: Formatted audio of the set.
        output: The CTM file, there when it is complete.
        nj: Processes.
        durations: Of the utterances in seconds, for the ETA.

    Raises:
        DataError: The audio cannot be read or is not at 16 kHz.
    """
    audio = read_scp(wav_scp)
    made_by = {
        "recogniser": f"pocketsphinx {importlib.metadata.version('pocketsphinx')}",
        "wav_scp": hashlib.sha256(wav_scp.read_bytes()).hexdigest(),
    }
    header = f";; {json.dumps(made_by)}\n"
    if output.exists():
        with output.open(encoding="utf-8") as f:
            if f.readline() == header:
                print(f"{output}: up to date")
                return
    partial = output.with_name(f"{output.name}.partial")
    finished = read_finished(partial, header)
    # without what a kill has cut off
    blocks = (f"{lines}{DONE}{utt_id}\n" for utt_id, lines in finished.items())
    write_atomic(partial, header + "".join(blocks))

    weights = durations or dict.fromkeys(audio, 1.0)
    bar = tqdm(
        total=math.ceil(sum(weights[utt_id] for utt_id in audio)),
        initial=round(sum(weights[utt_id] for utt_id in finished)),
        unit="s" if durations else "utt",
        unit_scale=True,
        desc=str(output),
    )
    pool: Executor
    if nj == 1:
        pool = ThreadPoolExecutor(1)
    else:  # spawn: a copy of a process that has threads may hang
        pool = ProcessPoolExecutor(nj, mp_context=get_context("spawn"))
    with bar, pool, partial.open("a", encoding="utf-8") as stream:
        jobs = {
            pool.submit(recognise, utt_id, source): utt_id
            for utt_id, source in audio.items()
            if utt_id not in finished
        }
        try:
            for job in as_completed(jobs):
                utt_id = jobs[job]
                finished[utt_id] = ctm_lines(utt_id, job.result())
                stream.write(f"{finished[utt_id]}{DONE}{utt_id}\n")
                stream.flush()
                bar.update(weights[utt_id])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    write_atomic(output, header + "".join(finished[utt_id] for utt_id in audio))
    partial.unlink()
