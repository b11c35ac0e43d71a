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
import hashlib
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, UserError, main_guard, warn
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.archives import is_archive_entry
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
from espnet_a2m.data.recordings.items import Item, to_key, unique_keys
from espnet_a2m.data.recordings.manifest import read_manifest
from espnet_a2m.data.tables import is_command

SETS = ("valid", "test")  # may be held out
A_COPY = "a copy of"
LARGEST_EXCESS = 1.5  # times what a set still wants, of a recording or a speaker


class Utterance(NamedTuple):
    """An utterance to write."""

    utt: str
    audio: str
    segment: Segment
    speaker: str
    text: str | None
    language: str | None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.segment.end - self.segment.start


def check_names(items: Iterable[Item]) -> dict[str, str]:
    """Audio that a data directory cannot name -> why."""
    bad = {}
    for audio in {item.audio: None for item in items}:
        if is_command(audio) or is_archive_entry(audio) or not audio.isprintable():
            bad[audio] = f"{audio!r}: rename it: Kaldi's tables cannot hold this name"
    return bad


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


def cut_long(
    parts: dict[str, tuple[Item, Segment]], longest: float, nj: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Id -> ends of the pieces of what is too long and has no transcript.

    And audio -> what is wrong with it.
    """
    spans = {
        utt: Span(item.audio, cut.channel, cut.start, cut.end, longest)
        for utt, (item, cut) in parts.items()
        if cut.end - cut.start > longest and item.text is None
    }
    pieces, bad = {}, {}
    with process_pool(nj) as pool:
        found = pool.map(cut_at_pauses, spans.values())
        bar = tqdm(found, "cut", len(spans), unit="recording", disable=not spans)
        for (utt, span), ends in zip(spans.items(), bar):
            if isinstance(ends, str):
                bad[span.audio] = ends
            else:
                pieces[utt] = ends
    return pieces, bad


def make_utterances(
    items: list[Item],
    infos: dict[str, AudioInfo],
    channels: str,
    longest: float,
    nj: int,
) -> tuple[list[Utterance], dict[str, str]]:
    """All utterances, and audio -> what is wrong with it."""
    keys = unique_keys([item.name for item in items])
    recordings = unique_keys([item.audio for item in items], lambda x: Path(x).stem)
    parts: dict[str, tuple[Item, Segment]] = {}
    for item in items:
        info = infos[item.audio]
        end = min(info.seconds, item.end or info.seconds)
        for channel in channels_of(item, info, channels):
            each = channels == "each" and channel is not None and item.channel is None
            utt = keys[item.name] + (f"-ch{channel}" if each else "")
            cut = Segment(recordings[item.audio], item.start, end, channel)
            parts[utt] = item, cut
    pieces, bad = cut_long(parts, longest, nj)
    utterances = []
    for utt, (item, cut) in parts.items():
        speaker = to_key(item.speaker) if item.speaker else keys[item.name]
        language = item.language and to_key(item.language)
        start = cut.start
        for end in pieces.get(utt, [cut.end]) if item.audio not in bad else ():
            name = f"{utt}-{hundredths(start, end)}" if utt in pieces else utt
            segment = cut._replace(start=start, end=end)
            utterances.append(
                Utterance(name, item.audio, segment, speaker, item.text, language)
            )
            start = end
    return utterances, bad


def split(
    utterances: list[Utterance], shares: dict[str, float], by: str, seed: int
) -> dict[str, list[Utterance]]:
    """Name of a set -> its utterances; "" is what is not held out.

    Recordings, or with ``by`` = "speaker" speakers, are held out until a set has its
    share of the seconds; which ones depends on their names and the seed alone. Only
    those with transcripts are, if there are any.

    Raises UserError where there are too few to divide.
    """
    has_text = any(u.text is not None for u in utterances)
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        groups.setdefault(u.speaker if by == "speaker" else u.audio, []).append(u)
    usable = [
        name
        for name, members in groups.items()
        if not has_text or all(u.text is not None for u in members)
    ]
    seconds = {name: sum(u.seconds for u in groups[name]) for name in usable}
    usable.sort(key=lambda x: hashlib.sha256(f"{seed} {x}".encode()).digest())
    sets: dict[str, list[Utterance]] = {}
    for set_name, share in shares.items():
        wanted = share * sum(seconds.values())
        # one that would be far too much stays in the pool
        for name in usable:
            if name in groups and seconds[name] <= LARGEST_EXCESS * wanted:
                sets.setdefault(set_name, []).extend(groups.pop(name))
                wanted -= seconds[name]
            if wanted <= 0:
                break
    sets[""] = [u for members in groups.values() for u in members]
    if empty := [f"--{name}" for name in shares if name not in sets]:
        raise UserError(f"{' and '.join(empty)}: too few to hold out: --split_by {by}")
    if not sets[""] or (has_text and not any(u.text for u in sets[""])):
        raise UserError(
            f"--valid and --test leave nothing: there are too few --split_by {by}"
        )
    return sets


def write_set(path: Path, utterances: list[Utterance], with_text: bool) -> None:
    """Write a data directory."""
    audio = {u.segment.recording: str(Path(u.audio).absolute()) for u in utterances}
    tables: dict[str, Any] = {"utt2spk": {u.utt: u.speaker for u in utterances}}
    if all(u.language for u in utterances):
        tables["utt2lang"] = {u.utt: u.language for u in utterances}
    if with_text:
        tables["text"] = {u.utt: u.text for u in utterances}
    write_data_dir(path, audio, tables, {u.utt: u.segment for u in utterances})
    hours = sum(u.seconds for u in utterances) / 3600
    print(
        f"{path}: {len(audio)} recordings, {len(utterances)} utterances, {hours:.2f} h"
    )


def list_source(args: argparse.Namespace) -> tuple[list[Item], dict[str, str]]:
    """The items of the folder or the manifest, and file -> why it is left out."""
    source = Path(args.source)
    if source.is_file():
        return read_manifest(source), {}
    items, left_out = list_folder(source, args.speaker, args.text_suffix)
    copies = dict(find_copies(item.audio for item in items))
    left_out |= {path: f"{A_COPY} {first}" for path, first in copies.items()}
    return [item for item in items if item.audio not in copies], left_out


def check_audio(
    items: list[Item], channels: str
) -> tuple[dict[str, AudioInfo], dict[str, str]]:
    """Open all recordings: path -> what its header says, and path -> what is wrong."""
    bad = check_names(items)
    # channel 0: how many there are does not matter yet
    files = {(item.audio, 0): None for item in items if item.audio not in bad}
    with ThreadPoolExecutor(THREADS) as pool:
        read, errors = read_headers(files, pool)
    infos = {path: info for (path, _), info in read.items()}
    bad |= {path: problem for (path, _), problem in errors.items()}
    for item in items:
        if item.audio in infos:
            info = infos[item.audio]
            wanted = item.channel or (int(channels) if channels.isdigit() else 0)
            end = info.seconds if item.end is None else item.end
            if item.start >= info.seconds or end > info.seconds + END_SLACK:
                bad[item.audio] = f"{item.start:g} to {end:g} s of {info.seconds:.2f} s"
            elif wanted >= info.channels > 1:
                bad[item.audio] = f"no channel {wanted} (from 0) but {info.channels}"
    mixed = sum(x.channels > 1 for x in infos.values()) if channels == "mix" else 0
    if mixed:
        print(f"{mixed} recordings have several channels: mixed (see --channels)")
    return infos, bad


def prepare(args: argparse.Namespace) -> None:
    """Look at all audio, then write all sets. Raises DataError."""
    target = Path(args.data, args.name)
    report = target / "left_out.txt"
    items, left_out = list_source(args)
    infos, bad = check_audio(items, args.channels)
    good = [item for item in items if item.audio not in bad]
    limits = args.channels, args.max_seconds, args.nj
    utterances, damaged = make_utterances(good, infos, *limits)
    bad |= damaged
    if bad and args.skip_bad_audio != "true":
        error = BadAudio(bad, target)
        error.write()
        raise error
    (target / "bad_audio.txt").unlink(missing_ok=True)  # of an earlier run
    left_out |= bad
    if left_out:
        lines = (f"{path}: {reason}\n" for path, reason in left_out.items())
        write_atomic(report, "".join(lines))
        copies = sum(reason.startswith(A_COPY) for reason in left_out.values())
        other = len(left_out) - copies - len(bad)
        warn(
            f"{len(left_out)} files are left out: {other} are no audio, {copies} are "
            f"copies of others, {len(bad)} have bad audio; {report} lists them"
        )
    if not utterances:
        raise DataError(f"{args.source}: no recording can be used")

    shares = {name: share for name in SETS if (share := getattr(args, name))}
    sets = split(utterances, shares, args.split_by, args.seed)
    has_text = any(u.text is not None for u in utterances)
    rest = sets.pop("")
    for name, members in sets.items():
        write_set(Path(f"{target}_{name}"), members, has_text)
    write_set(target, rest, False)
    if has_text:
        sets["transcribed"] = [u for u in rest if u.text is not None]
        write_set(Path(f"{target}_transcribed"), sets["transcribed"], True)
    for name in {*SETS, "transcribed"} - sets.keys():
        old = Path(f"{target}_{name}")
        if (old / "wav.scp").is_file():  # of an earlier run
            shutil.rmtree(old)


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
    if not (args.channels in ("mix", "each") or args.channels.isdigit()):
        raise UserError(f"--channels {args.channels}: mix, each or a number from 0")
    if args.max_seconds < 1 or args.nj < 1:
        raise UserError("--max_seconds and --nj must be at least 1")
    if not (min(args.valid, args.test) >= 0 and args.valid + args.test < 1):
        raise UserError("--valid and --test must be shares that leave something")
    if to_key(args.name) != args.name:
        raise UserError(f"--name {args.name!r}: letters, digits, '-', '_' and '.'")
    prepare(args)


if __name__ == "__main__":
    main()
