"""Write data directories of your own recordings.

SOURCE is a folder, which may have folders in it, or a manifest: .csv, .tsv or .jsonl,
perhaps with .gz, one recording (or a part of one) a row, with a column such as
audio_filepath, path or file_name, and, where there are any, text, speaker, language,
offset and duration. NeMo's, Hugging Face's and lhotse's manifests are read as they are.

Writes DATA/NAME, for pre-training, without transcripts; DATA/NAME_transcribed, what of
it has some; with `--valid` and `--test` also DATA/NAME_valid and DATA/NAME_test, drawn
from what has transcripts, if anything has. DATA/NAME/left_out.txt lists the files that
are in none of them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, UserError, main_guard, preview, warn
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.audio import AudioInfo
from espnet_a2m.data.corpora._shared import THREADS, hundredths
from espnet_a2m.data.datadir import MIX, Segment, write_data_dir
from espnet_a2m.data.formatting.format_headers import (
    BadAudio,
    add_skip_bad_audio,
    read_headers,
)
from espnet_a2m.data.formatting.format_jobs import END_SLACK, process_pool
from espnet_a2m.data.recordings.cut import Span, cut_at_pauses
from espnet_a2m.data.recordings.folder import find_copies, list_folder
from espnet_a2m.data.recordings.items import (
    Item,
    Utterance,
    shown,
    to_key,
    unique_keys,
)
from espnet_a2m.data.recordings.manifest import read_manifest
from espnet_a2m.data.recordings.split import split
from espnet_a2m.data.tables import is_command

SETS = ("valid", "test")  # may be held out
TRANSCRIBED = "transcribed"
SOURCE = "source.txt"  # in each directory that is written: of what
#: What lines of a table cannot hold, or are stripped of
UNFIT = re.compile(r"[\0\r\n\ud800-\udfff]|\s\Z")
A_COPY = "a copy of"


def check_names(items: Iterable[Item]) -> dict[str, str]:
    """Audio that a data directory cannot name -> why."""
    bad = {}
    for audio in {item.audio: None for item in items}:
        path = os.path.abspath(audio)
        if is_command(path) or UNFIT.search(path):
            bad[audio] = "rename it: Kaldi's tables cannot hold this name"
    return bad


def misfit(item: Item, info: AudioInfo, channels: str) -> str:
    """What an item wants that its audio does not have, or ""."""
    if item.start >= info.seconds:
        return f"starts at {item.start:g} s of {info.seconds:.2f} s"
    if item.end is not None and item.end > info.seconds + END_SLACK:
        return f"{item.start:g} to {item.end:g} s of {info.seconds:.2f} s"
    channel = item.channel
    if channel is None and channels.isdecimal() and info.channels > 1:
        channel = int(channels)
    if channel is not None and channel >= info.channels:
        return f"no channel {channel} (from 0) but {info.channels}"
    return ""


def channels_of(item: Item, info: AudioInfo, channels: str) -> list[int | None]:
    """The channels of a recording that become utterances; None: it has only one."""
    if info.channels == 1:
        return [None]
    if item.channel is not None:
        return [item.channel]
    if channels == "mix":
        return [MIX]
    if channels == "each":
        return list(range(info.channels))
    return [int(channels)]


def make_utterances(
    items: list[Item], infos: dict[str, AudioInfo], channels: str
) -> list[Utterance]:
    """The utterances, of any length."""
    keys = unique_keys([item.name for item in items])
    recordings = unique_keys([item.audio for item in items], lambda x: Path(x).stem)
    speakers = unique_keys([item.speaker for item in items if item.speaker])
    utterances = []
    for item in items:
        info = infos[item.audio]
        speaker = speakers[item.speaker] if item.speaker else keys[item.name]
        language = to_key(item.language) if item.language else None
        end = min(info.seconds, item.end or info.seconds)
        for channel in channels_of(item, info, channels):
            each = channels == "each" and channel is not None and item.channel is None
            utt = keys[item.name] + (f"-ch{channel}" if each else "")
            cut = Segment(recordings[item.audio], item.start, end, channel)
            about = speaker, item.text, language
            utterances.append(Utterance(utt, item.audio, cut, *about))
    return utterances


def cut_long(
    utterances: list[Utterance], longest: float, nj: int
) -> tuple[list[Utterance], dict[str, str]]:
    """Cut what is too long and has no transcript.

    Returns all utterances of audio that is not damaged, and the other -> why.

    Raises DataError where several get the same id.
    """
    every = [u for u in utterances if u.seconds > longest]
    too_long = [u for u in every if u.text is None]
    if kept := [u.utt for u in every if u.text is not None]:
        warn(
            f"{len(kept)} recordings with transcripts are longer than {longest:g} s "
            f"and not cut: {preview(kept)}: list their parts with the text of each, or "
            "list them without text"
        )
    spans = [
        Span(u.audio, u.segment.channel, u.segment.start, u.segment.end, longest)
        for u in too_long
    ]
    pieces: dict[Utterance, list[float]] = {}
    bad = {}
    with process_pool(nj) as pool:
        found = pool.map(cut_at_pauses, spans)
        bar = tqdm(found, "cut", len(spans), unit="recording", disable=not spans)
        for utterance, ends in zip(too_long, bar):
            if isinstance(ends, str):
                bad[utterance.audio] = ends
            else:
                pieces[utterance] = ends
    result = []
    for u in utterances:
        start = u.segment.start
        for end in pieces.get(u, [u.segment.end]) if u.audio not in bad else ():
            name = f"{u.utt}-{hundredths(start, end)}" if u in pieces else u.utt
            cut = u.segment._replace(start=start, end=end)
            result.append(u._replace(utt=name, segment=cut))
            start = end
    count = Counter(u.utt for u in result)
    if twice := [utt for utt, n in count.items() if n > 1]:
        raise DataError(
            f"several utterances would be called {preview(twice)}: rename their "
            "recordings, or correct their ids"
        )
    return result, bad


def write_set(
    path: Path, utterances: list[Utterance], with_text: bool, source: str
) -> None:
    """Write a data directory."""
    write_atomic(path / SOURCE, f"{os.path.abspath(source)}\n")
    audio = {u.segment.recording: str(Path(u.audio).absolute()) for u in utterances}
    tables: dict[str, Any] = {"utt2spk": {u.utt: u.speaker for u in utterances}}
    languages = {u.utt: u.language for u in utterances if u.language}
    if len(languages) == len(utterances):
        tables["utt2lang"] = languages
    elif languages:
        warn(f"{path}: utt2lang is not written: not all utterances have a language")
    if with_text:
        tables["text"] = {u.utt: u.text for u in utterances}
    write_data_dir(path, audio, tables, {u.utt: u.segment for u in utterances})
    hours = sum(u.seconds for u in utterances) / 3600
    print(
        f"{path}: {len(audio)} recordings, {len(utterances)} utterances, {hours:.2f} h"
    )


def list_source(args: argparse.Namespace) -> tuple[list[Item], dict[str, str]]:
    """The items of the folder or the manifest, and file -> why it is left out."""
    source = Path(args.source).expanduser()
    if source.is_file():
        if args.text_suffix or args.speaker != "file":
            raise UserError(
                "--speaker and --text_suffix are of folders: manifests say it"
            )
        parts: dict[tuple[Any, ...], Item] = {}
        left_out = {}
        for item in read_manifest(source):
            part = os.path.realpath(item.audio), item.start, item.end, item.channel
            if (first := parts.setdefault(part, item)) is not item:
                left_out[label(item)] = f"{A_COPY} {first.name}"
        return list(parts.values()), left_out
    items, left_out = list_folder(source, args.speaker, args.text_suffix)
    copies = dict(find_copies(item.audio for item in items))
    left_out |= {path: f"{A_COPY} {first}" for path, first in copies.items()}
    left_out = {shown(path): shown(reason) for path, reason in left_out.items()}
    return [item for item in items if item.audio not in copies], left_out


def label(item: Item) -> str:
    """What reports call an item of a recording that may have several."""
    return f"{shown(item.audio)}, {shown(item.name)}"


def check_audio(
    items: list[Item], channels: str
) -> tuple[list[Item], dict[str, AudioInfo], dict[str, str]]:
    """Open all recordings.

    Returns the items that can be used, path -> what its header says, and recording, or
    item, -> what is wrong with it.
    """
    problems = check_names(items)
    # channel 0: how many there are does not matter yet
    files = {(item.audio, 0): None for item in items if item.audio not in problems}
    with ThreadPoolExecutor(THREADS) as pool:
        read, errors = read_headers(files, pool)
    infos = {path: info for (path, _), info in read.items()}
    problems |= {path: problem for (path, _), problem in errors.items()}
    bad, good = name_audio(problems), []
    for item in items:
        if item.audio not in infos:
            continue
        if problem := misfit(item, infos[item.audio], channels):
            bad[label(item)] = problem
        else:
            good.append(item)
    several = [x for x in good if infos[x.audio].channels > 1 and x.channel is None]
    if channels == "mix" and several:
        mixed = len({item.audio for item in several})
        print(f"{mixed} recordings have several channels: mixed (see --channels)")
    return good, infos, bad


def name_audio(problems: dict[str, str]) -> dict[str, str]:
    """Audio as reports call it -> its problem, without its name."""
    return {shown(x): why.removeprefix(f"{x}: ") for x, why in problems.items()}


def check_targets(folders: Iterable[Path]) -> None:
    """Raise UserError where data directories of other origin would be replaced."""
    others = [str(x) for x in folders if (x / "wav.scp").exists() and not is_ours(x)]
    if others:
        raise UserError(
            f"{preview(others)}: prepare_recordings did not write this: choose another "
            "--name, or remove it"
        )


def is_ours(folder: Path) -> bool:
    """Is it a data directory that an earlier run has written?"""
    return (folder / SOURCE).is_file()


def prepare(args: argparse.Namespace) -> None:
    """Look at all audio, then write all sets. Raises DataError."""
    target = Path(args.data, args.name)
    report = target / "left_out.txt"
    others = {name: Path(f"{target}_{name}") for name in (*SETS, TRANSCRIBED)}
    check_targets([target, *others.values()])
    items, left_out = list_source(args)
    good, infos, bad = check_audio(items, args.channels)
    utterances = make_utterances(good, infos, args.channels)
    utterances, damaged = cut_long(utterances, args.max_seconds, args.nj)
    bad |= name_audio(damaged)
    if bad and args.skip_bad_audio != "true":
        error = BadAudio(bad, target)
        error.write()
        raise error
    left_out |= bad
    if not utterances:
        raise DataError(
            f"{args.source}: no recording can be used: "
            f"{preview(f'{x}: {why}' for x, why in (bad or left_out).items())}"
        )
    shares = {name: share for name in SETS if (share := getattr(args, name))}
    sets = split(utterances, shares, args.split_by, args.seed)
    has_text = any(u.text is not None for u in utterances)
    rest = sets.pop("")
    if has_text:
        sets[TRANSCRIBED] = [u for u in rest if u.text is not None]

    # an interrupted run leaves no directory of an earlier one beside its own
    for folder in (target, *others.values()):
        (folder / "wav.scp").unlink(missing_ok=True)
        if is_ours(folder) and folder not in (target, *(others[x] for x in sets)):
            shutil.rmtree(folder)
    for old in (target / "bad_audio.txt", report):
        old.unlink(missing_ok=True)
    if left_out:
        lines = (f"{path}: {reason}\n" for path, reason in left_out.items())
        write_atomic(report, "".join(lines))
        copies = sum(reason.startswith(A_COPY) for reason in left_out.values())
        other = len(left_out) - copies - len(bad)
        warn(
            f"{len(left_out)} files are left out: {other} are no audio, {copies} are "
            f"copies of others, {len(bad)} have bad audio; {report} lists them"
        )
    for name, members in sets.items():
        write_set(others[name], members, has_text, args.source)
    write_set(target, rest, False, args.source)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder or a manifest")
    parser.add_argument("--data", default="data", help="where data directories go")
    parser.add_argument("--name", default="pretrain", help="of the data directory")
    text = "of recordings with several: mix, each (an utterance each), or one, from 0"
    parser.add_argument("--channels", default="mix", help=text)
    text = "of a folder: a speaker for each file, or for each folder"
    choices = ("file", "folder")
    parser.add_argument("--speaker", choices=choices, default="file", help=text)
    text = "of a folder: transcripts are beside the recordings, such as .txt"
    parser.add_argument("--text_suffix", help=text)
    text = "longer recordings are cut where they are quietest"
    parser.add_argument("--max_seconds", type=float, default=30.0, help=text)
    for name in SETS:
        text = f"share of the hours to hold out in NAME_{name}, such as 0.05"
        parser.add_argument(f"--{name}", type=float, default=0.0, help=text)
    choices = ("recording", "speaker")
    text = "what is held out together"
    parser.add_argument("--split_by", choices=choices, default="recording", help=text)
    parser.add_argument("--seed", type=int, default=0, help="of what is held out")
    parser.add_argument("--nj", type=int, default=2, help="processes")
    add_skip_bad_audio(parser)
    return parser


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    args = get_parser().parse_args(argv)
    if not (args.channels in ("mix", "each") or args.channels.isdecimal()):
        raise UserError(f"--channels {args.channels}: mix, each or a number from 0")
    if not args.max_seconds >= 1 or args.nj < 1:
        raise UserError("--max_seconds and --nj must be at least 1")
    if not (min(args.valid, args.test) >= 0 and args.valid + args.test < 1):
        raise UserError("--valid and --test must be shares that leave something")
    if args.text_suffix and not re.fullmatch(r"\.[^/]*[^/.]", args.text_suffix):
        raise UserError(f"--text_suffix {args.text_suffix}: such as .txt")
    if to_key(args.name) != args.name or args.name.startswith("."):
        raise UserError(f"--name {args.name!r}: letters, digits, '-', '_' and '.'")
    prepare(args)


if __name__ == "__main__":
    main()
