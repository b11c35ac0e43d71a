"""Fisher English, parts 1 and 2: telephone conversations, two channels, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.audio import AudioInfo, audio_info
from espnet_a2m.data.corpora._kaldi import Utterances
from espnet_a2m.data.corpora._reading import PARTIAL, check_sphere, read_lines
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "Fisher English is LDC2004S13, LDC2005S13 (speech), LDC2004T19 and LDC2005T19 "
    "(transcripts), under LDC's licence (https://catalog.ldc.upenn.edu/LDC2004S13): "
    "put the four folders, or links to them, beside each other."
)
SETS = {"fisher": "all conversations; this corpus has no test set"}
SOURCE = "Kaldi's recipe"
PUBLISHED = {"fisher": {"recordings": 11699}}
SPEECH = ("LDC2004S13", "LDC2005S13")
TRANSCRIPTS = ("LDC2004T19", "LDC2005T19")

_LINE = re.compile(r"\s*\d+(\.\d*)?\s+\d+(\.\d*)?\s+[AB]:(\s|$)")


def spell(text: str) -> str:
    """The words of a transcript; "" where the transcriber was unsure.

    As in Kaldi's recipe, an utterance with "((" in it is left out.

    >>> spell("an- so the topic is [laughter] t._v.")
    'an so the topic is t v'
    """
    if "((" in text:
        return ""
    words = re.sub(r"\[[^\]]*\]", " ", text).replace("._", " ")
    return " ".join(word.strip("-.") for word in words.split())


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """The conversations, in the common form of transcripts; a side is a speaker.

    `corpus_dir` contains LDC2004S13, LDC2005S13, LDC2004T19 and LDC2005T19; with
    `allow_missing`, a single part (1: 2004, 2: 2005) is sufficient.
    """
    from lhotse.audio.backend import audio_backend
    from lhotse.recipes import prepare_fisher_english

    parts, audio = check_layout(corpus_dir, allow_missing)
    form = CommonForm()
    found = Utterances(corpus_dir)
    # lhotse needs a folder for its manifests; without libsndfile it starts sph2pipe
    with TemporaryDirectory() as manifests, audio_backend("LibsndfileBackend"):
        read = prepare_fisher_english(
            corpus_dir,
            manifests,
            audio_dirs=list(parts),
            transcript_dirs=list(parts.values()),
            absolute_paths=True,
        )
        for part in read["supervisions"]:
            if text := form(spell(part.text), part.text):
                info = audio[part.recording_id]
                found.add_call(info, part.channel, part.start, part.end, text)
    form.report("fisher")
    yield "fisher", found


def check_layout(
    corpus_dir: Path, allow_missing: bool
) -> tuple[dict[str, str], dict[str, AudioInfo]]:
    """The folders of the parts, each of which is complete, and their calls' audio.

    Folders with speech -> folders with data/ and doc/; in LDC's archive those two are
    in fe_03_p1_tran, which some copies do not have. Raises DataError as `prepare`.
    """
    parts: dict[str, str] = {}
    infos: dict[str, AudioInfo] = {}
    for part, (speech, transcripts) in enumerate(zip(SPEECH, TRANSCRIPTS), 1):
        inner = f"{transcripts}/fe_03_p{part}_tran"
        if (corpus_dir / inner).is_dir():
            transcripts = inner
        audio = {p.stem: p for p in (corpus_dir / speech).glob("*/audio/*/*.sph")}
        home = corpus_dir / transcripts
        texts = {p.stem: p for p in home.glob("data/trans/*/*.txt")}
        tables = [*home.glob("doc/*_calldata.tbl"), *home.glob("doc/*/*_calldata.tbl")]
        if not (audio and texts and tables):
            if allow_missing:
                continue
            raise DataError(
                f"{corpus_dir}: looked for {speech}/<disc>/audio/<nnn>/*.sph, "
                f"{transcripts}/data/trans/<nnn>/*.txt and "
                f"{transcripts}/doc/*_calldata.tbl: {len(audio)}, {len(texts)} and "
                f"{len(tables)} files. {WHERE} {PARTIAL}"
            )
        if unpaired := audio.keys() ^ texts:
            raise DataError(
                f"{corpus_dir}: {len(unpaired)} conversations of {speech} and "
                f"{transcripts} are in one of them only: {preview(sorted(unpaired))}. "
                f"{WHERE}"
            )
        check_sphere(corpus_dir, audio.values())
        infos |= {call: audio_info(str(path), 0) for call, path in audio.items()}
        check_calls(tables[0], texts)
        for path in texts.values():
            check_transcript(path)
        parts[speech] = transcripts
    if not parts:
        raise DataError(f"{corpus_dir}: neither part 1 nor part 2 is there. {WHERE}")
    return parts, infos


def check_calls(table: Path, calls: Iterable[str]) -> None:
    """Raise DataError unless a table names the speakers of calls "fe_03_<number>"."""
    rows = [line.split(",") for _, line in read_lines(table)]
    known = {row[0] for row in rows if len(row) > 10}  # the columns that lhotse reads
    if unknown := sorted(call for call in calls if call.split("_")[-1] not in known):
        raise DataError(
            f"{table}: no line, or a truncated one, for {preview(unknown)}; copy it "
            f"again. {WHERE}"
        )


def check_transcript(path: Path) -> None:
    """Raise DataError for a line that lhotse's reader does not accept."""
    for number, line in read_lines(path):
        if number > 3 and not _LINE.match(line):  # three are about the file
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not <start> <end> <A or B>: "
                f"<words>; copy the file again. {WHERE}"
            )
