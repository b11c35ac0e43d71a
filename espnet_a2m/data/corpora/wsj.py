"""Wall Street Journal (CSR-I and CSR-II): read newspaper sentences, 16 kHz.

lhotse has no recipe for it. LDC's index files (.ndx) list the recordings of a set, its
.dot files have the transcripts; sets and rules are those of Kaldi's recipe, the largest
vocabulary, non-verbalised punctuation and the Sennheiser microphone (.wv1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "WSJ is LDC93S6A (or B) and LDC94S13A (or B), under LDC's licence "
    "(https://catalog.ldc.upenn.edu/LDC93S6A): put the discs' folders, "
    "or links to them, below one folder."
)
# index files, by the end of their path: discs are found under different names
SETS = {
    "wsj_si284": (
        "wsj0/doc/indices/train/tr_s_wv1.ndx",
        "wsj1/doc/indices/si_tr_s.ndx",
    ),
    "wsj_dev93": ("wsj1/doc/indices/h1_p0.ndx",),
    "wsj_eval92": ("wsj0/doc/indices/test/nvp/si_et_20.ndx",),
}
SOURCE = "Kaldi's recipe"
PUBLISHED = {
    "wsj_si284": {"utterances": 37416},
    "wsj_dev93": {"utterances": 503},
    "wsj_eval92": {"utterances": 333},
}
NOT_RECORDED = "wsj0/si_tr_s/401/"  # listed, but on no disc
_NOT_A_WORD = re.compile(r"\[.*\]|~|\.")  # noises, truncation, a pause
# said as punctuation; other words keep their apostrophe
_QUOTE = re.compile(r"['`](?=SINGLE-(?:CLOSE-)?QUOTE$)", re.I)
_MARKS = re.compile(r"[\\:!*]|\([^)]*\)(?=-)")  # quoting, stress, what was not said


def spell(text: str) -> str:
    r"""The words of a line of a .dot file; punctuation that was said is a word.

    >>> spell(r"And <new> I\. B\. M\. [breath] %PERCENT . ,COMMA up [slam>] ~")
    'And new I. B. M. PERCENT ,COMMA up'
    """
    words = []
    for word in _MARKS.sub("", text).split():
        if not _NOT_A_WORD.fullmatch(word):
            deleted = re.fullmatch(r"<([\w']+)>", word)  # the prompt, but was said
            word = deleted[1] if deleted else word.lstrip("%&{}")
            words.append(_QUOTE.sub("", word))
    return " ".join(words)


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """The sets, in the common form; the discs' folders may have any name."""
    files = {_key(p, corpus_dir): p for p in shared.files_below(corpus_dir)}
    indexed = {
        name: [
            key for index in SETS[name] for key in read_index(corpus_dir, index, files)
        ]
        for name in sets
    }
    speakers = {_utt(key)[:3] for keys in indexed.values() for key in keys}
    texts: dict[str, str] = {}
    for key, path in files.items():
        if key.endswith(".dot") and _utt(key)[:3] in speakers:
            texts.update(read_dot(path))
    for name, keys in indexed.items():
        missing = dict.fromkeys(
            key for key in keys if key not in files or _utt(key) not in texts
        )
        if missing:
            message = (
                f"{corpus_dir}: {len(missing)} of {len(keys)} recordings of {name} "
                f"have no .wv1 file, or no line in a .dot file: {preview(missing)}"
            )
            shared.report_missing(message, WHERE, allow_missing)
        audio = {_utt(key): files[key] for key in keys if key not in missing}
        infos = shared.read_audio_infos(corpus_dir, audio.values())
        form = CommonForm(keep_all=name != "wsj_si284")
        found = shared.Utterances(corpus_dir)
        for utt, info in zip(audio, infos.values(), strict=True):
            if text := form(spell(texts[utt]), texts[utt]):
                found.add(utt, info, 0, 0.0, info.seconds, utt[:3], text)
        form.report(name)
        yield name, found


def read_index(corpus_dir: Path, index: str, files: dict[str, Path]) -> list[str]:
    """Recordings that an .ndx file lists: "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1"."""
    if index not in files:
        raise DataError(f"{corpus_dir}: no {index} anywhere below it. {WHERE}")
    keys = []
    for line in files[index].read_text(encoding="latin-1").splitlines():
        if not line.strip() or line.startswith(";"):
            continue
        key = line.partition(":")[2].strip().lstrip("/").lower()
        if not key:
            raise DataError(
                f"{files[index]}: {line!r}: no <disc>:<file>; copy it again"
            )
        if not key.startswith(NOT_RECORDED):
            keys.append(key if key.endswith(".wv1") else f"{key}.wv1")
    return keys


def read_dot(path: Path) -> dict[str, str]:
    """Transcript by utterance: "<text> (<utterance>)" a line. Raises DataError."""
    found = {}
    # bytes beyond ASCII are accidents of these discs; no word of a set has one
    for number, line in enumerate(path.read_text("latin-1").splitlines(), 1):
        if match := re.fullmatch(r"(.*)\((\w+)\)\s*", line):
            found[match[2].lower()] = match[1].strip()
        elif line.strip():
            raise DataError(
                f"{path}:{number}: {line[:60]!r}: no (<utterance>) ends it; get the "
                "file again"
            )
    return found


def _key(path: Path, root: Path) -> str:
    """A path from wsj0 or wsj1 on, in lower case: discs differ in what is above it."""
    name = path.relative_to(root).as_posix().lower()
    match = re.fullmatch(r"(?:.*/)?(wsj[01]/.*)", name)
    return match[1] if match else name


def _utt(key: str) -> str:
    return Path(key).stem
