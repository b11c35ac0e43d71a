"""Recognise data sets with PocketSphinx: a CTM file for `--scorer ctm`.

  python examples/pocketsphinx_ctm.py --data dump/raw/pretrain dump/raw/dev \
      --output all.ctm --nj 4
  ./run.sh --stage 8 --scorer ctm --scorer_conf file=all.ctm

US English at 16 kHz; the wheel of `pip install espnet_a2m[pocketsphinx]` has the model.
After an interruption the same command resumes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import re
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from espnet_a2m.core.errors import UserError, main_guard
from espnet_a2m.data.audio import read_audio, to_pcm16
from espnet_a2m.data.tables import read_scp

FS = 16000  # Hz, of the model's training data
WINDOW, SHIFT = 410, 160  # samples, of its frames
END = ";; end of "

decoder: Any = None  # of each process


def load_decoder() -> None:
    """Load the recogniser with the model in its wheel."""
    global decoder
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")


def recognise(job: tuple[str, str]) -> str:
    """The CTM lines of an utterance: (utterance, audio file).

    The confidence of a word is its posterior in the lattice that the search kept, so it
    is high where no other word survived.

    Raises:
        DataError: The audio cannot be read or is not at 16 kHz.
    """
    utt_id, source = job
    speech = to_pcm16(read_audio(utt_id, source, FS))
    # forget the noise and the mean of earlier utterances: the order may not matter
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(speech.tobytes(), full_utt=True)
    decoder.end_utt()
    lines = ""
    for segment in decoder.seg() or ():
        if segment.word[0] in "<[+":  # silence and noise
            continue
        word = re.sub(r"\(\d+\)$", "", segment.word)  # without its pronunciation
        # half a shift before the centre of its first frame
        start = ((WINDOW - 1) / 2 + (segment.start_frame - 0.5) * SHIFT) / FS
        duration = (segment.end_frame - segment.start_frame + 1) * SHIFT / FS
        confidence = min(segment.prob, 1.0)  # rounded logarithms may exceed it a little
        lines += f"{utt_id} 1 {start:.4f} {duration:.4f} {word} {confidence:.4f}\n"
    return f"{lines}{END}{utt_id}\n"


def write_ctm(tables: list[Path], output: Path, nj: int) -> None:
    """Recognise the utterances of `wav.scp` files, in `nj` processes."""
    content = b"".join(table.read_bytes() for table in tables)
    header = f";; pocketsphinx {importlib.metadata.version('pocketsphinx')}, "
    header += f"wav.scp {hashlib.sha256(content).hexdigest()}\n"
    if output.exists() and output.read_text("utf-8").startswith(header):
        print(f"{output}: up to date")
        return
    partial = output.with_name(f"{output.name}.partial")
    text = partial.read_text("utf-8") if partial.exists() else ""
    marks = list(re.finditer(rf"^{END}(.*)\n", text, re.M))
    if marks and text.startswith(header):
        text = text[: marks[-1].end()]  # without an utterance that was interrupted
    else:
        text, marks = header, []
    done = {mark[1] for mark in marks}
    audio = {utt: path for table in tables for utt, path in read_scp(table).items()}
    jobs = [job for job in audio.items() if job[0] not in done]
    output.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text, "utf-8")
    bar = tqdm(total=len(audio), initial=len(done), unit="utt", desc=str(output))
    # spawn: a copy of a process that has threads may hang
    with (
        bar,
        get_context("spawn").Pool(nj, load_decoder) as pool,
        partial.open("a", encoding="utf-8") as stream,
    ):
        for lines in pool.imap(recognise, jobs):
            stream.write(lines)
            stream.flush()
            bar.update()
    os.replace(partial, output)


@main_guard
def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--data", nargs="+", required=True, help="Formatted data directories")
    option("--output", required=True, type=Path, help="CTM file")
    option("--nj", type=int, default=1, help="Processes [1]")
    args = parser.parse_args()
    try:
        importlib.metadata.version("pocketsphinx")
    except importlib.metadata.PackageNotFoundError as e:
        raise UserError(f"pip install espnet_a2m[pocketsphinx] ({e})") from e
    write_ctm([Path(data, "wav.scp") for data in args.data], args.output, args.nj)


if __name__ == "__main__":
    main()
