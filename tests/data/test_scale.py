"""Large sets: parts give what all of it gives; memory does not grow with the set."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_pretraining import ssl_options

from espnet_a2m.core.errors import DataError
from espnet_a2m.data import datadir
from espnet_a2m.data.archives import read_audio_bytes
from espnet_a2m.data.datadir import DataDir, write_data_dir
from espnet_a2m.data.formatting import (
    filter_lengths,
    format_jobs,
    format_wav,
    subsample_hours,
)
from espnet_a2m.data.streams import check_streams, splits
from espnet_a2m.data.tables import (
    Keys,
    join_utterances,
    outer_join,
    read_scp,
    write_table,
)
from espnet_a2m.evaluation.confidence_report import format_report, make_report
from espnet_a2m.evaluation.scored_set import ScoredDataset

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]


def tables(folder: Path) -> dict[str, bytes]:
    """The visible files of a directory, without those below it."""
    files = (p for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    return {p.name: p.read_bytes() for p in files}


def speech(folder: Path) -> dict[str, bytes]:
    """Every utterance's audio file, out of its archive."""
    table = read_scp(folder / "wav.scp")
    return {utt: read_audio_bytes(source) for utt, source in table.items()}


@pytest.fixture
def raw(tmp_path, short_utterances, monkeypatch) -> Path:
    """40 segments of 20 recordings, whose order is not that of the utterances."""
    monkeypatch.chdir(tmp_path)
    recordings = {
        f"r{i:02d}": path for i, (_, path, _) in enumerate(short_utterances[:20])
    }
    segments = {
        f"u{i:02d}": datadir.Segment(f"r{i * 7 % 20:02d}", 0.1 * (i % 3), 1.0)
        for i in range(40)
    }
    speakers = {utt: f"s{int(utt[1:]) % 3}" for utt in segments}
    write_data_dir("data", recordings, {"utt2spk": speakers}, segments)
    return Path("data")


def test_parts_are_formatted_and_filtered_as_the_whole(raw, monkeypatch, capsys):
    def run(out: str, new: int) -> None:
        format_wav.main(["--audio_format", "flac.ark", str(raw), out])
        assert f"40 utterances, {new} of them written now" in capsys.readouterr().out
        options = ["--min_wav_duration", "0.85", out, f"{out}/filtered"]
        filter_lengths.main(options)

    run("complete", 40)
    monkeypatch.setattr(datadir, "PART_UTTERANCES", 7)
    monkeypatch.setattr(format_jobs, "CHUNK", 3)
    run("parts", 40)
    assert len(list(Path("parts/data").iterdir())) == 5 * 3 + 2  # 7 = 3 + 3 + 1
    for folder in (Path("."), Path("filtered")):
        one, other = "complete" / folder, "parts" / folder
        assert speech(one) == speech(other)
        want, got = tables(one), tables(other)
        del want["wav.scp"], got["wav.scp"]
        assert want == got and "spk2utt" in got
    assert len(read_scp("parts/filtered/wav.scp")) == 27

    run("parts", 0)  # all is there
    monkeypatch.setattr(datadir, "PART_UTTERANCES", 50_000)
    run("parts", 40)  # other archives; nothing of the six parts is left
    assert {p.name for p in Path("parts").glob(".f*")} == {".formatted"}
    assert len(list(Path("parts/data").iterdir())) == 14
    assert speech(Path("parts")) == speech(Path("complete"))


def test_bad_audio_of_all_parts_is_named_before_any_is_formatted(
    raw, monkeypatch, capsys
):
    monkeypatch.setattr(datadir, "PART_UTTERANCES", 7)
    recordings = read_scp(raw / "wav.scp")
    for name in ("r00", "r19"):
        recordings[name] = f"{name}.flac"
        Path(f"{name}.flac").write_bytes(b"no audio")
    write_table(raw / "wav.scp", recordings)
    with pytest.raises(SystemExit):
        format_wav.main([str(raw), "out"])
    message = capsys.readouterr().err
    assert "r00.flac" in message and "r19.flac" in message
    assert not Path("out/data").exists()


def test_utterances_that_a_table_lacks_stop_the_last_part(raw):
    write_table(
        raw / "utt2lang", dict.fromkeys([*read_scp(raw / "segments")][1:], "en")
    )
    seen: list[str] = []
    with pytest.raises(
        DataError, match="utt2lang: 1 of 40 utterances of .*segments are missing: u00"
    ):
        for part in DataDir.parts(raw, size=10):
            seen += part.utts
    assert seen == [f"u{i:02d}" for i in range(1, 31)]


def test_join_is_that_of_dictionaries():
    rng = np.random.default_rng(0)
    for _ in range(50):
        some = [{f"é{k}": k for k in rng.integers(0, 30, 12)} for _ in range(3)]
        rows = list(outer_join([sorted(table.items()) for table in some]))
        keys = sorted(set().union(*some), key=str.encode)
        assert rows == [(key, [table.get(key) for table in some]) for key in keys]


def test_missing_utterances_are_named_with_both_files():
    few = {f"u{i}": i for i in range(5)}
    many = {f"u{i}": i for i in range(9)}

    def join(one: dict, other: dict, same: bool) -> list:
        tables = [("a", one.items()), ("b", other.items())]
        return list(join_utterances(tables, "fix it", same))

    assert join(few, many, False) == [(key, [i, i]) for key, i in few.items()]
    with pytest.raises(DataError, match="^a: 4 of 9 utterances of b are missing: u5, "):
        join(few, many, True)
    for same in (False, True):
        with pytest.raises(DataError, match="^b: 4 .* u5, u6, u7 and 1 more; fix it$"):
            join(many, few, same)


def test_speakers_in_any_order_and_keys_on_the_disk(tmp_path):
    spoken = {"a-1": "z", "a-2": "Ü", "a-3": "z", "b-1": "a", "c-1": "Ü"}
    write_data_dir(tmp_path, dict.fromkeys(spoken, "x.wav"), {"utt2spk": spoken})
    want = "a b-1\nz a-1 a-3\nÜ a-2 c-1\n"
    assert (tmp_path / "spk2utt").read_text(encoding="utf-8") == want
    keys = Keys(tmp_path / "wav.scp")
    assert list(keys) == list(keys) == list(spoken) and len(keys) == 5
    assert "b-1" in keys and "b-2" not in keys


def test_a_report_of_a_random_sample(data, tmp_path):
    from espnet_a2m.bin.score import main

    confidence = tmp_path / "confidence"
    write_table(tmp_path / "wav.scp", read_scp(data / "wav.scp"))
    write_table(tmp_path / "utt2num_samples", read_scp(data / "speech_shape"))
    data = tmp_path
    options = ["--data", str(data), "--output_dir", str(confidence)]
    main(["--scorer", "energy", *options])
    complete = ScoredDataset.load(data, confidence)
    some = ScoredDataset.load(data, confidence, 10)
    assert (len(complete.audio), complete.total, len(some.audio), some.total) == (
        24,
        24,
        10,
        24,
    )
    for name in ("audio", "source", "num_samples"):
        part, table = getattr(some, name), getattr(complete, name)
        assert list(part) == list(some.audio)
        assert all(table[utt] == value for utt, value in part.items())
    assert list(some.audio) != list(complete.audio)[:10]
    assert "a random 10 of its 24" in format_report(make_report(some)[0])
    assert "a random" not in format_report(make_report(complete)[0])


# --- Memory ----------------------------------------------------------------------


def index(folder: Path, count: int) -> Path:
    """Tables of `count` utterances, all of the same archive entry, in chunks of 100."""
    utts = [f"large-{i:09d}" for i in range(count)]
    archive = folder / "x.ark"
    folder.mkdir()
    archive.write_bytes(b"x \0BFM \4\1\0\0\0\4\1\0\0\0\0\0\0\0")
    entry = f"{archive}:2"
    samples = dict.fromkeys(utts, 16000)
    speakers = {utt: utt[:-2] for utt in utts}
    write_data_dir(
        folder,
        dict.fromkeys(utts, entry),
        {"utt2spk": speakers, "utt2num_samples": samples},
    )
    (folder / "fs").write_text("16000\n")
    write_table(folder / "confidence.scp", dict.fromkeys(utts, entry))
    (folder / "grid.json").write_text('{"fs": 16000, "offset": 480.0, "stride": 640}')
    return folder


def check(folder: Path) -> None:
    sum(len(part.utts) for part in DataDir.parts(folder))
    assert not datadir.missing_audio(folder / "wav.scp")


def filter_(folder: Path) -> None:
    filter_lengths.main([str(folder), str(folder / "filtered")])


def streams(folder: Path) -> None:
    names = (("wav.scp", "speech"), ("confidence.scp", "confidence"))
    check_streams([(str(folder / path), name, "kaldi_ark") for path, name in names])


def sample(folder: Path) -> None:
    ScoredDataset.load(folder, folder, 100)


@pytest.mark.parametrize("read", [check, filter_, streams, sample])
def test_memory_does_not_grow_with_the_index(read, tmp_path, monkeypatch):
    monkeypatch.setattr(datadir, "PART_UTTERANCES", 200)

    def peak(folder: Path) -> int:
        read(folder)  # what is imported and cached at first
        tracemalloc.start()
        read(folder)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small, large = (peak(index(tmp_path / str(n), n)) for n in (500, 10_000))
    assert large < small + 10_000 * 16  # bytes: the keys alone are longer


def test_memory_of_merging(tmp_path):
    """Of what jobs have written, one chunk is read at a time."""
    from espnet_a2m.core.files import file_digest
    from espnet_a2m.data import shards

    peaks = []
    for count in (1000, 10_000):
        folder = index(tmp_path / str(count), count)
        out = folder / "out"
        grid = '{"fs": 16000, "offset": 200.0, "stride": 640}'
        digest = file_digest(folder / "wav.scp")
        out.mkdir()
        state = f'{{"grid": {grid}, "wav_scp": "{digest}"}}'
        (out / "metadata.json").write_text(state)
        chunks = shards.chunk_folder(out, state)
        chunks.mkdir(parents=True)
        for chunk in shards.iter_chunks(folder):
            stem = shards.chunk_stem(chunks, chunk.number)
            Path(f"{stem}.ark").write_bytes((folder / "x.ark").read_bytes())
            write_table(f"{stem}.scp", dict.fromkeys(chunk.audio, f"{stem}.ark:2"))
            write_table(f"{stem}.value", dict.fromkeys(chunk.audio, 0.5))
        scores = shards.ShardedSet(folder, out, shards.CONFIDENCES, {})
        scores.merge_shards(2, str)
        tracemalloc.start()
        scores.merge_shards(2, str)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(read_scp(out / "confidence.scp")) == count
    assert peaks[1] < peaks[0] + 10_000 * 16


# --- Statistics of a part of a set ------------------------------------------------


def test_hours_are_drawn(tmp_path, capsys):
    folder = index(tmp_path / "set", 2000)
    lengths = dict.fromkeys(Keys(folder / "wav.scp"), 16000 * 18)  # 10 h
    write_table(folder / "utt2num_samples", lengths)
    write_table(folder / "other.scp", {utt: f"x:{i}" for i, utt in enumerate(lengths)})

    def draw(hours: float, out: str) -> dict[str, dict[str, str]]:
        words = ["--hours", hours, "--fs", 16000, "--output_dir", tmp_path / out]
        words += [folder / n for n in ("utt2num_samples", "wav.scp", "other.scp")]
        subsample_hours.main([str(word) for word in words])
        names = ("wav.scp", "other.scp")
        return {name: read_scp(tmp_path / out / name) for name in names}

    some = draw(2, "some")
    assert some["wav.scp"].keys() == some["other.scp"].keys()
    assert 320 < len(some["wav.scp"]) < 480  # 400 in the mean, 18 the deviation
    other = read_scp(folder / "other.scp")
    assert all(other[utt] == value for utt, value in some["other.scp"].items())
    assert draw(2, "again") == some
    assert draw(10.5, "all")["other.scp"] == other

    other.popitem()
    write_table(folder / "other.scp", other)
    with pytest.raises(SystemExit):
        draw(2, "lacking")
    said = capsys.readouterr().err
    assert "other.scp: 1 of 2000 utterances of" in said and "large-000001999" in said
    assert not (tmp_path / "lacking" / "wav.scp").exists()


# --- ESPnet's splits -------------------------------------------------------------


@pytest.fixture
def split(data, tmp_path) -> Callable[[int, str], list[str]]:
    """Options to train on splits, with stage 3's lengths for the shapes of stage 10."""
    from espnet2.bin.split_scps import main

    lengths = tmp_path / "utt2num_samples"
    write_table(lengths, read_scp(data / "speech_shape"))

    def options(count: int, name: str) -> list[str]:
        out = tmp_path / name
        scps = [str(data / "wav.scp"), str(lengths)]
        main(["--scps", *scps, "--num_splits", str(count), "--output_dir", str(out)])
        stream = f"{out}/wav.scp,speech,sound"
        return [
            *("--multiple_iterator", "true"),
            *("--train_data_path_and_name_and_type", stream),
            *("--train_shape_file", f"{out}/utt2num_samples"),
        ]

    return options


def without_train_data(options: list[str]) -> list[str]:
    pairs = zip(options[::2], options[1::2])
    names = ("--train_data_path_and_name_and_type", "--train_shape_file")
    return [word for pair in pairs if pair[0] not in names for word in pair]


def test_training_reads_splits(data, split, tmp_path):
    from espnet_a2m.bin.ssl_train import main

    options = without_train_data(ssl_options(data, None, tmp_path / "exp"))
    options += ["--masking_conf", "guidance=uniform", *split(3, "splits")]
    main([*options, "--max_epoch", "3"])
    assert (tmp_path / "exp/3epoch.pth").exists()

    # a command in any split is found before ESPnet runs it
    table = read_scp(tmp_path / "splits/wav.scp/split.2")
    table[next(iter(table))] = "touch pwned |"
    write_table(tmp_path / "splits/wav.scp/split.2", table)
    with pytest.raises(SystemExit):
        main([*options, "--output_dir", str(tmp_path / "refused")])
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("updates", [1, 2, 3])
def test_training_on_splits_goes_on_where_it_was(
    data, split, tmp_path, monkeypatch, updates
):
    """Stopped after some updates: the same model, and nothing is read twice."""
    from espnet2.train.dataset import ESPnetDataset

    from espnet_a2m.bin.ssl_train import main
    from espnet_a2m.training.mid_epoch_checkpoint import MidEpochCheckpoint

    read, dataset_item = [], ESPnetDataset.__getitem__

    def count_reads(dataset, utt_id):
        read.append(utt_id)
        return dataset_item(dataset, utt_id)

    monkeypatch.setattr(ESPnetDataset, "__getitem__", count_reads)
    common = ["--masking_conf", "guidance=uniform", *split(2, "splits")]
    common += ["--max_epoch", "1", "--save_interval_updates", "1", "--resume", "true"]

    def options(exp: str) -> list[str]:
        return [*without_train_data(ssl_options(data, None, tmp_path / exp)), *common]

    main(options("complete"))
    in_all, save, saved = len(read), MidEpochCheckpoint.save, []

    def save_and_stop(state, finished):
        save(state, finished)
        saved.append(finished)
        if len(saved) == updates:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(MidEpochCheckpoint, "save", save_and_stop)
        main(options("stopped"))
    assert saved == [False] * updates  # in the epoch, not after it
    main(options("stopped"))
    complete, stopped = (
        torch.load(tmp_path / exp / "1epoch.pth", weights_only=True)
        for exp in ("complete", "stopped")
    )
    assert all(torch.equal(complete[key], stopped[key]) for key in complete)
    assert len(read) == 2 * in_all


def test_folders_that_are_no_splits(data, split, tmp_path):
    split(2, "two"), split(3, "three")
    two, three = (f"{tmp_path}/{name}/wav.scp" for name in ("two", "three"))
    found = [s[0][0] for s in splits([(two, "speech", "sound")])]
    assert found == [f"{two}/split.0", f"{two}/split.1"]
    with pytest.raises(DataError, match="split all alike"):
        list(splits([(two, "speech", "sound"), (three, "confidence", "kaldi_ark")]))
    with pytest.raises(DataError, match="espnet2.bin.split_scps"):
        list(splits([(str(data / "wav.scp"), "speech", "sound")]))
