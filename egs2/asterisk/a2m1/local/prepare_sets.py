#!/usr/bin/env python3
"""Write the data directories of the Asterisk recipe from DOWNLOADS/sounds.

Writes data/{train_sup,dev,test_clean,test_far,pretrain}; the audio goes to
DOWNLOADS/flac and DOWNLOADS/far. Existing audio is kept.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rooms
import split
from decode import FS, decode_all, g722_samples, read_g722, run_all, write_flac
from get_sounds import LANGUAGES, locate, missing
from transcripts import is_speech, read_transcripts, spoken_texts

from espnet_a2m.core.errors import DataError, main_guard
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.datadir import write_data_dir

SHORTEST = 0.1  # seconds; one of the Russian files is empty
SETS = ("train_sup", "dev", "test_clean", "test_far", "pretrain")
EXPECTED = {
    "English": {"prompts": 551, "minutes": 24.3},
    "other languages": {"prompts": 2194, "minutes": 100.7},
}


@dataclass
class Corpus:
    """The spoken prompts: file and seconds by language and prompt; English texts."""

    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def utt_id(language: str, prompt: str) -> str:
    """en, digits/1 -> en_digits_1."""
    return f"{language}_{prompt.replace('/', '_')}"


def read_corpus(sounds: Path) -> Corpus:
    """List the prompts of sounds that are there, and are speech."""
    found = locate([sounds])
    if absent := missing(found):
        raise DataError(
            f"{sounds}: missing {', '.join(absent)}; run local/get_sounds.py first"
        )
    corpus = Corpus()
    for language in LANGUAGES:
        folder = sounds / language
        corpus.files[language], corpus.seconds[language] = {}, {}
        for path in sorted(folder.glob("**/*.g722")):
            prompt = path.relative_to(folder).with_suffix("").as_posix()
            seconds = g722_samples(path) / FS
            if is_speech(prompt) and seconds >= SHORTEST:
                corpus.files[language][prompt] = path
                corpus.seconds[language][prompt] = seconds
    texts = spoken_texts(read_transcripts(found["transcripts"]))
    corpus.texts = {p: t for p, t in texts.items() if p in corpus.files["en"]}
    if not corpus.texts:
        raise DataError(f"{found['transcripts']}: no English sound has a transcript")
    return corpus


def report_counts(corpus: Corpus) -> None:
    """Print the amount of speech, and warn when it is not the expected one."""
    for name, languages in (("English", ["en"]), ("other languages", LANGUAGES[1:])):
        seconds = [s for x in languages for s in corpus.seconds[x].values()]
        found = {"prompts": len(seconds), "minutes": sum(seconds) / 60}
        print(f"{name}: {len(seconds)} spoken prompts, {found['minutes']:.1f} min")
        shared.compare_counts(name, found, EXPECTED[name], "version 1.6.1")


def choose(corpus: Corpus, share: float) -> dict[str, list[tuple[str, str]]]:
    """The (language, prompt) pairs of every set, and of the babble."""
    sets = split.split(corpus.texts, corpus.seconds["en"])
    held_out = {corpus.texts[p] for s in (split.DEV, split.TEST) for p in sets[s]}
    chosen = {
        name: [("en", p) for p in split.subset(prompts, share, 8)]
        for name, prompts in sets.items()
    }
    # English without a transcript is left out: it may be a prompt of dev or test
    allowed = [p for p, text in corpus.texts.items() if text not in held_out]
    train = {prompt for _, prompt in chosen[split.TRAIN]}
    pretrain = [("en", p) for p in {*train, *split.subset(allowed, share, 8)}]
    chosen["babble"] = []
    for language in LANGUAGES[1:]:
        babble = split.babble(corpus.seconds[language], language)
        chosen["babble"] += [(language, prompt) for prompt in babble]
        rest = corpus.files[language].keys() - set(babble)
        pretrain += [(language, p) for p in split.subset(rest, share, 8)]
    chosen["pretrain"] = sorted(pretrain)
    return chosen


@functools.cache
def read_babble(paths: tuple[tuple[str, Path], ...]) -> dict[str, list[np.ndarray]]:
    """Float samples by language; read once in each process."""
    samples: dict[str, list[np.ndarray]] = {}
    for language, path in paths:
        samples.setdefault(language, []).append(read_g722(path) / 32768)
    return samples


def _simulate(job: tuple[str, Path, Path, tuple[tuple[str, Path], ...]]) -> None:
    utt, source, target, babble = job
    clean = read_g722(source) / 32768
    write_flac(target, rooms.mix(*rooms.simulate(utt, clean, read_babble(babble))))


def prepare(downloads: Path, data: Path, share: float, nj: int) -> None:
    """Write all sets. Raises DataError when the sounds are missing or damaged."""
    corpus = read_corpus(downloads / "sounds")
    report_counts(corpus)
    chosen = choose(corpus, share)

    def source(pair: tuple[str, str]) -> Path:
        return corpus.files[pair[0]][pair[1]]

    def flac(pair: tuple[str, str]) -> Path:
        return downloads / "flac" / f"{utt_id(*pair)}.flac"

    babble = tuple((pair[0], source(pair)) for pair in chosen["babble"])
    needed = {p for name, pairs in chosen.items() if name != "babble" for p in pairs}
    decode_all(((source(pair), flac(pair)) for pair in sorted(needed)), nj)
    # far-field audio is in a folder of its own for each version of the simulation
    sizes = [(language, p.stem, p.stat().st_size) for language, p in babble]
    content = Path(rooms.__file__).read_bytes() + repr(sizes).encode()
    folder = downloads / "far" / hashlib.sha256(content).hexdigest()[:8]
    for old in (downloads / "far").glob("*"):
        if old.name != folder.name:
            shutil.rmtree(old)
    far = {pair: folder / f"{utt_id(*pair)}.flac" for pair in chosen["test_clean"]}
    todo = [(utt_id(*p), source(p), far[p], babble) for p in far if not far[p].exists()]
    run_all(_simulate, todo, nj, "rooms")
    chosen["test_far"] = chosen["test_clean"]
    for name in SETS:
        pairs = chosen[name]
        audio = {utt_id(*p): far[p] if name == "test_far" else flac(p) for p in pairs}
        # the language, which is the speaker, starts each id
        languages = {utt: utt.partition("_")[0] for utt in audio}
        tables = {"utt2spk": languages, "utt2lang": languages}
        if name != "pretrain":
            tables["text"] = {utt_id(*p): corpus.texts[p[1]] for p in pairs}
        write_data_dir(data / name, audio, tables)
        minutes = sum(corpus.seconds[x][p] for x, p in pairs) / 60
        print(f"{data / name}: {len(pairs)} utterances, {minutes:.1f} min")


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--downloads", type=Path, default=Path("downloads"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument(
        "--subset", type=float, default=1.0, help="part of every set, e.g. 0.1"
    )
    parser.add_argument("--nj", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    if not 0 < args.subset <= 1 or args.nj < 1:
        raise DataError("--subset must be in (0, 1], --nj at least 1")
    prepare(args.downloads, args.data, args.subset, args.nj)


if __name__ == "__main__":
    main()
