"""A folder of recordings, or a manifest, becomes data directories; nothing is lost."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.audio import Recording
from espnet_a2m.data.datadir import MIX, DataDir
from espnet_a2m.data.formatting import format_wav
from espnet_a2m.data.recordings import prepare
from espnet_a2m.data.recordings.cut import Span, frame_power, quietest_points
from espnet_a2m.data.recordings.items import to_key, unique_keys
from espnet_a2m.data.recordings.manifest import read_manifest
from espnet_a2m.data.recordings.prepare import main

pytestmark = pytest.mark.unit

FS = 16000


@pytest.fixture(scope="module")
def speech(short_utterances) -> list[np.ndarray]:
    return [soundfile.read(path)[0] for _, path, _ in short_utterances[:12]]


def encode(path: Path, samples: np.ndarray, codec: str) -> None:
    """Write a file by FFmpeg."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FS)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = FS
        resampler = av.AudioResampler(
            format=stream.format,
            layout="mono",
            rate=FS,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path, speech) -> Path:
    """Real speech in seven formats, nested, with spaces and accents; a long file."""
    root = tmp_path / "my recordings"
    (root / "Ärger mit Räumen" / "Tag 1").mkdir(parents=True)
    (root / "b").mkdir()
    soundfile.write(root / "Ärger mit Räumen/Tag 1/straße 1.wav", speech[0], FS)
    soundfile.write(root / "Ärger mit Räumen/zwei.flac", speech[1], FS)
    soundfile.write(root / "b/c.ogg", speech[2], FS, format="OGG", subtype="VORBIS")
    encode(root / "b/d.mp3", speech[3], "libmp3lame")
    encode(root / "b/e.M4A", speech[4], "aac")
    encode(root / "b/f.opus", speech[5], "libopus")
    soundfile.write(root / "b/8k.wav", speech[6][::2], FS // 2)
    two = np.stack([speech[7], 0.5 * speech[7]], axis=1)
    soundfile.write(root / "b/stereo.wav", two, FS)
    soundfile.write(root / "long one.flac", np.concatenate(speech * 4), FS)
    return root


def spoil(root: Path) -> set[str]:
    """Add what cannot be used; returns its paths."""
    good = (root / "b/stereo.wav").read_bytes()
    (root / "broken.wav").write_bytes(good[: len(good) // 2])
    (root / "empty.mp3").write_bytes(b"")
    (root / "notes.pdf").write_bytes(b"%PDF")
    shutil.copy(root / "Ärger mit Räumen/zwei.flac", root / "b/copy of zwei.flac")
    names = "broken.wav", "empty.mp3", "notes.pdf", "Ärger mit Räumen/zwei.flac"
    return {str(root / name) for name in names}


def run(*words: object) -> None:
    main([str(word) for word in words])


def seconds_of(data: DataDir) -> dict[str, float]:
    """Seconds of each recording that its utterances cover."""
    covered: dict[str, float] = {}
    for cut in (data.segments or {}).values():
        path = data.wav_scp[cut.recording]
        covered[path] = covered.get(path, 0.0) + cut.end - cut.start
    return covered


def test_a_folder_loses_nothing(tmp_path, folder, capsys):
    run(folder, "--data", tmp_path / "data", "--max_seconds", 8, "--nj", 1)
    data = DataDir.load(tmp_path / "data/pretrain")
    covered = seconds_of(data)
    files = {str(p) for p in folder.rglob("*.*")}
    assert covered.keys() == files
    for path, seconds in covered.items():
        info = Recording(path, 0).info
        assert seconds == pytest.approx(info.frames / info.rate, abs=1e-3)
    assert max(cut.end - cut.start for cut in data.segments.values()) <= 8
    assert any("straße_1" in utt for utt in data.utts)
    said = capsys.readouterr()
    assert "1 recordings have several channels: mixed" in said.out
    assert said.err.count("WARNING") == 0
    # formatting reads it, and mixes
    format_wav.main(
        [str(tmp_path / "data/pretrain"), str(tmp_path / "dump"), "--fs", str(FS)]
    )
    dump = DataDir.load(tmp_path / "dump")
    assert dump.utts == data.utts
    stereo = soundfile.read(folder / "b/stereo.wav")[0]
    mixed = soundfile.read(dump.wav_scp["b_stereo"])[0]
    np.testing.assert_allclose(mixed, stereo.mean(axis=1), atol=2**-15)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [("0", {"b_stereo": 0}), ("1", {"b_stereo": 1}), ("mix", {"b_stereo": MIX})]
    + [("each", {"b_stereo-ch0": 0, "b_stereo-ch1": 1})],
)
def test_channels(tmp_path, folder, channels, expected):
    run(folder, "--data", tmp_path, "--channels", channels)
    segments = DataDir.load(tmp_path / "pretrain").segments
    assert {u: s.channel for u, s in segments.items() if "stereo" in u} == expected
    assert {s.channel for u, s in segments.items() if "stereo" not in u} == {None}


def test_everything_left_out_is_listed(tmp_path, folder, capsys):
    bad = spoil(folder)
    with pytest.raises(SystemExit):
        run(folder, "--data", tmp_path)
    said = capsys.readouterr().err
    assert "broken.wav: truncated" in said and "empty.mp3: the file has no by" in said
    assert not (tmp_path / "pretrain/wav.scp").exists()
    run(folder, "--data", tmp_path, "--skip_bad_audio", "true")
    listed = (tmp_path / "pretrain/left_out.txt").read_text().splitlines()
    assert {line.partition(": ")[0] for line in listed} == bad
    covered = seconds_of(DataDir.load(tmp_path / "pretrain"))
    every = {str(p) for p in folder.rglob("*.*")}
    assert covered.keys() | bad == every and not covered.keys() & bad
    assert (
        "4 files are left out: 1 are no audio, 1 are copies" in capsys.readouterr().err
    )


def test_transcripts_beside_the_recordings(tmp_path, folder, capsys):
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        path.with_suffix(".txt").write_text(f"words of\n number {number} \n")
    options = "--data", tmp_path, "--text_suffix", ".txt"
    run(folder, *options, "--speaker", "folder")
    data = DataDir.load(tmp_path / "pretrain_transcribed", need=["text"])
    assert len(data.utts) == 9  # with transcripts nothing is cut
    assert sorted(data.tables["text"].values())[0] == "words of number 0"
    assert "Ärger_mit_Räumen" in data.tables["utt2spk"].values()
    said = capsys.readouterr().err
    assert said.count("WARNING") == 1 and "longer than 30 s and not cut: long_o" in said
    (folder / "b/d.txt").unlink()
    with pytest.raises(SystemExit):
        run(folder, *options)
    assert "b/d.txt missing or empty" in capsys.readouterr().err


def test_pieces_end_in_pauses(tmp_path, speech):
    quiet = np.random.default_rng(0).normal(0, 1e-4, FS // 2)
    samples = np.concatenate([x for part in speech * 2 for x in (part, quiet)])
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, FS)
    span = Span(str(path), None, 0.0, len(samples) / FS, 10.0)
    ends = quietest_points(frame_power(span), span)
    assert ends[-1] == span.end
    lengths = np.diff([0.0, *ends])
    assert lengths.min() >= 5 and lengths.max() <= 10
    loud = np.square(samples).mean()
    for cut in ends[:-1]:
        around = samples[round((cut - 0.1) * FS) : round((cut + 0.1) * FS)]
        assert np.square(around).mean() < 1e-3 * loud  # 30 dB below


@pytest.mark.parametrize("longest", [1.0, 2.0, 30.0])
def test_pieces_are_no_longer_than_asked_for(longest):
    rng = np.random.default_rng(0)
    for start in (0.0, 0.013, 3599.99):
        for times in (1.0001, 1.01, 1.999, 2.0, 2.5, 10.3):
            span = Span("a.wav", None, start, start + times * longest, longest)
            power = rng.exponential(size=int(times * longest / 0.02))
            lengths = np.diff([start, *quietest_points(power, span)])
            assert lengths.max() <= longest + 1e-5
            assert lengths.min() >= 0.5 * longest - 0.03


def clip(path: Path | str | bytes, seed: int = 0) -> None:
    """Write a second of noise, whose content depends on ``seed``."""
    samples = np.random.default_rng(seed).normal(0, 0.1, FS)
    with open(path, "wb") as stream:
        soundfile.write(stream, samples, FS, format="WAV")


def test_files_of_the_same_name_in_two_formats_are_two(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for seed, name in enumerate(["a.wav", "a.flac", "b.wav", "B.wav", "b.wav.wav"]):
        clip(root / name, seed)
    run(root, "--data", tmp_path)
    data = DataDir.load(tmp_path / "pretrain")
    assert len(data.utts) == 5 and {"a.wav", "a.flac", "B"} < set(data.utts)


ODD = ["q'u\"o`$te", "-rf", "x" * 240, "e\u0301", "\u00e9", " t\tab", "\u3000ide\xa0o"]


def test_any_name_that_a_table_can_hold(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    for seed, name in enumerate(ODD):
        clip(root / f"{name}.wav", seed)
    run(root, "--data", tmp_path)
    data = DataDir.load(tmp_path / "pretrain")
    assert {Path(x).stem for x in data.wav_scp.values()} == set(ODD)
    format_wav.main([str(data.path), str(tmp_path / "dump"), "--fs", str(FS)])
    assert len(DataDir.load(tmp_path / "dump").utts) == len(ODD)
    (root / "a\nb.wav").write_bytes((root / "-rf.wav").read_bytes()[:-1])
    clip(bytes(root) + b"/\xff.wav", 99)
    (root / "no\nte.txt").touch()
    run(root, "--data", tmp_path, "--skip_bad_audio", "true")
    assert (tmp_path / "pretrain/left_out.txt").read_text().splitlines() == [
        f"'{root}/no\\nte.txt': no audio, by its name",
        f"'{root}/a\\nb.wav': rename it: Kaldi's tables cannot hold this name",
        f"'{root}/\\udcff.wav': rename it: Kaldi's tables cannot hold this name",
    ]


def test_links_and_folders_that_lead_nowhere_are_named(tmp_path, monkeypatch, capsys):
    root = tmp_path / "in"
    for folder in ("a", "closed", ".Trash"):
        (root / folder).mkdir(parents=True)
        clip(root / folder / "1.wav")
    clip(root / "a/._1.wav")
    (root / "a/loop").symlink_to(root)
    (root / "a/broken.wav").symlink_to(root / "none.wav")
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SystemExit):
        run(root, "--data", tmp_path)
    said = capsys.readouterr().err
    assert "2 problem(s)" in said and "in/closed: " in said
    assert "a/broken.wav: cannot be opened (No such file" in said
    run(root, "--data", tmp_path, "--skip_bad_audio", "true")
    assert DataDir.load(tmp_path / "pretrain").utts == ["a_1"]


def test_ids_and_speakers_do_not_merge(tmp_path, capsys):
    root = tmp_path / "in"
    for seed, folder in enumerate(["a b", "a_b"]):
        (root / folder).mkdir(parents=True)
        clip(root / folder / f"{seed}.wav", seed)
    run(root, "--data", tmp_path, "--speaker", "folder")
    utt2spk = DataDir.load(tmp_path / "pretrain").tables["utt2spk"]
    assert len(set(utt2spk.values())) == 2
    soundfile.write(root / "s.wav", np.full((FS, 2), 0.1), FS)
    clip(root / "s-ch0.wav", 3)
    with pytest.raises(SystemExit):
        run(root, "--data", tmp_path, "--channels", "each")
    assert "would be called s-ch0: rename" in capsys.readouterr().err


def test_long_recordings_with_transcripts_are_named(tmp_path, folder, capsys):
    (tmp_path / "a.csv").write_text(f'path,text\n"{folder}/long one.flac",hello\n')
    run(tmp_path / "a.csv", "--data", tmp_path, "--max_seconds", 8)
    assert (
        "1 recordings with transcripts are longer than 8 s" in capsys.readouterr().err
    )
    assert DataDir.load(tmp_path / "pretrain").utts == ["a-000002"]


def test_transcripts_that_are_not_utf8_are_named_at_once(tmp_path, capsys):
    for number in range(2):
        clip(tmp_path / f"{number}.wav", number)
        (tmp_path / f"{number}.txt").write_bytes(b"\xe4")
    with pytest.raises(SystemExit):
        run(tmp_path, "--data", tmp_path / "data", "--text_suffix", ".txt")
    said = capsys.readouterr().err
    assert "0.txt" in said and "1.txt" in said and "not in UTF-8" in said
    with pytest.raises(SystemExit):
        run(tmp_path, "--data", tmp_path / "data", "--text_suffix", "txt")
    assert "--text_suffix txt: such as .txt" in capsys.readouterr().err


def test_directories_of_others_are_kept_and_those_of_earlier_runs_are_not(
    tmp_path, capsys, monkeypatch
):
    root, data = tmp_path / "in", tmp_path / "data"
    root.mkdir()
    for number in range(6):
        clip(root / f"{number}.wav", number)
    (root / "notes.txt").touch()
    for name in ("other", "pretrain_test"):
        (data / name).mkdir(parents=True)
        (data / name / "wav.scp").write_text("a /a.wav\n")
    for options in (["--name", "other"], []):
        with pytest.raises(SystemExit):
            run(root, "--data", data, *options)
        assert "did not write this: choose another --name" in capsys.readouterr().err
    assert (data / "pretrain_test/wav.scp").read_text() == "a /a.wav\n"

    options = root, "--data", data, "--name", "mine", "--valid"
    run(*options, 0.3, "--test", 0.3)
    assert (data / "mine/left_out.txt").exists() and (data / "mine_test").exists()
    (root / "notes.txt").unlink()
    run(*options, 0.3)
    assert not (data / "mine/left_out.txt").exists()
    assert not (data / "mine_test").exists() and (data / "mine_valid").exists()

    def interrupt(path, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "write_set", interrupt)
    with pytest.raises(SystemExit):
        run(*options, 0.2)
    assert not list(data.glob("mine*/wav.scp"))


# -------------------------------------------------------------------------- manifests
@pytest.fixture
def clips(tmp_path, speech) -> Path:
    (tmp_path / "clips").mkdir()
    for number, samples in enumerate(speech):
        soundfile.write(tmp_path / f"clips/{number}.wav", samples, FS)
    return tmp_path / "clips"


def test_manifests_of_others(clips, tmp_path):
    import lhotse

    recordings = [lhotse.Recording.from_file(p) for p in sorted(clips.glob("?.wav"))]
    recordings_file = tmp_path / "recordings.jsonl.gz"
    lhotse.RecordingSet.from_recordings(recordings).to_file(recordings_file)
    cuts = [
        lhotse.MonoCut(
            id=f"cut-{r.id}",
            start=0.1,
            duration=0.5,
            channel=0,
            recording=r,
            supervisions=[
                lhotse.SupervisionSegment(
                    f"s{r.id}", r.id, 0.0, 0.5, text="yes", speaker=f"spk{r.id}"
                )
            ],
        )
        for r in recordings
    ]
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    (clips / "metadata.csv").write_text("file_name,transcription\n0.wav,a b\n1.wav,c\n")
    with (tmp_path / "cv.tsv").open("w") as stream:
        table = csv.writer(stream, delimiter="\t")
        table.writerow(["client_id", "path", "sentence", "locale"])
        table.writerow(["x" * 128, "2.wav", 'He said "no"', "en"])
    nemo = {"audio_filepath": str(clips / "3.wav"), "offset": 0.2, "duration": 0.4}
    (tmp_path / "nemo.json").write_text(json.dumps({**nemo, "text": "to"}) + "\n")

    assert [i.audio for i in read_manifest(recordings_file)] == [
        str(p) for p in sorted(clips.glob("?.wav"))
    ]
    first = read_manifest(tmp_path / "cuts.jsonl.gz")[0]
    assert (first.start, first.end, first.channel) == (0.1, 0.6, None)
    assert (first.name, first.text, first.speaker) == ("cut-0", "yes", "spk0")
    hf = read_manifest(clips / "metadata.csv")
    assert [(i.audio, i.text) for i in hf] == [
        (str(clips / "0.wav"), "a b"),
        (str(clips / "1.wav"), "c"),
    ]
    (row,) = read_manifest(tmp_path / "cv.tsv")
    assert (row.text, row.speaker, row.language) == ('He said "no"', "x" * 128, "en")
    assert row.audio == str(clips / "2.wav")
    (row,) = read_manifest(tmp_path / "nemo.json")
    assert (row.start, row.end, row.text) == (0.2, pytest.approx(0.6), "to")
    run(tmp_path / "nemo.json", "--data", tmp_path)
    data = DataDir.load(tmp_path / "pretrain_transcribed", need=["text"])
    (cut,) = data.segments.values()
    assert (cut.start, cut.end) == (0.2, pytest.approx(0.6))


def test_missing_values_and_quotation_marks(tmp_path):
    def read(name: str, content: str) -> list[str | None]:
        (tmp_path / name).write_text(content)
        return [item.text for item in read_manifest(tmp_path / name)]

    rows = '{"path": "a", "offset": NaN, "duration": NaN, "text": NaN, "channel": 1.0}'
    assert read("a.jsonl", f'{rows}\n{{"path": "b", "text": 5}}\n') == [None, "5"]
    assert read_manifest(tmp_path / "a.jsonl")[0][5:] == (0.0, None, 1)
    csv_rows = '\ufefffile,text\r\na,"two\r\nlines\t"\r\nb,"  "\r\nc\r\n'
    assert read("b.CSV", csv_rows) == ["two lines", None, None]
    tsv_rows = 'path\ttext\na\t"not closed\nb\t"Hi" he said\nc\t"Say ""hi"""\n'
    texts = ['"not closed', '"Hi" he said', 'Say "hi"']
    assert read("c.tsv", tsv_rows) == texts


BAD_MANIFESTS = {
    "a.csv": ("sound,text\na.wav,b\n", ["a.csv:2: no column audio or audio_file"]),
    "b.jsonl": (
        '{"path": "a.wav", "offset": -1}\n{"path": "b.wav", "offset": "x"}\n',
        ["2 rows cannot be used", "b.jsonl:1: from -1.0", "b.jsonl:2: could not"],
    ),
    "c.jsonl": ('{"path": "a.wav"}\n[1]\n', ["c.jsonl:2: no JSON object"]),
    "d.jsonl": ('{"path": "a"\n', ["d.jsonl:1: no JSON", "one object a line"]),
    "e.tsv": ("id\tpath\nu\ta\nu\tb\n", ["e.tsv:3: the id 'u' is that of line 2"]),
    "f.xlsx": ("", ["f.xlsx: a manifest is .csv, .tsv or .jsonl"]),
    "g.csv": ("path\n", ["g.csv: no rows"]),
    "i.jsonl": (
        '{"path": "https://a.b/c.wav"}\n{"path": "a", "text": ["b"]}\n'
        '{"path": "a", "offset": NaN, "end": NaN, "channel": -1}\n[1]\nx\n',
        ["5 rows cannot", "i.jsonl:1: https://a.b/c.wav: dow", "2: text: ['b']: exp"]
        + ["i.jsonl:3: channel -1", "i.jsonl:4: no JSON object", "i.jsonl:5: no JSON"],
    ),
    "j.csv": ("path,text\na,hello, world\n", ["j.csv:2: more cells than columns"]),
    "k.csv": ('path,text\na,b\nc,"d\ne,f\n', ["k.csv: after line 2: unexpected end"]),
    "h.jsonl.gz": ("no gzip", ["h.jsonl.gz: damaged, or no text in UTF-8"]),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_rows_that_cannot_be_used_are_named(tmp_path, name):
    content, problems = BAD_MANIFESTS[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_manifest(tmp_path / name)
    for problem in problems:
        assert problem in str(error.value)


def test_audio_of_a_manifest_is_checked_before_anything_is_written(
    tmp_path, clips, capsys
):
    rows = [{"path": "clips/0.wav"}, {"path": "clips/no.wav"}, {"path": "clips/1.wav|"}]
    rows += [{"path": "clips/2.wav", "start": 100.0, "end": 101.0}]
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(SystemExit):
        run(tmp_path / "a.jsonl.gz", "--data", tmp_path)
    said = capsys.readouterr().err
    assert "3 problem(s)" in said
    for part in ("no.wav: cannot be opened", "1.wav|: rename it", "starts at 100 s of"):
        assert part in said
    assert not (tmp_path / "pretrain/wav.scp").exists()


def test_rows_that_do_not_fit_leave_others_of_their_file(tmp_path, clips):
    rows = [{"path": "clips/0.wav", "offset": x, "duration": 0.2} for x in (0, 0, 500)]
    rows += [{"path": "clips/0.wav", "channel": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    run(tmp_path / "a.jsonl", "--data", tmp_path, "--skip_bad_audio", "true")
    assert DataDir.load(tmp_path / "pretrain").utts == ["a-000001"]
    listed = (tmp_path / "pretrain/left_out.txt").read_text()
    for part in (
        "000002: a copy of a-000001",
        "000003: starts at 500",
        "000004: no ch",
    ):
        assert f"clips/0.wav, a-{part}" in listed


def manifest(tmp_path: Path, clips: Path, transcribed: int) -> Path:
    """Twelve clips of four speakers, of which the first have transcripts."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as stream:
        for number in range(12):
            row = {"path": f"clips/{number}.wav", "speaker": f"s{number % 4}"}
            row |= {"id": f"u{number}", "text": f"t{number}" * (number < transcribed)}
            stream.write(json.dumps(row) + "\n")
    return path


def test_sets_that_are_held_out(tmp_path, clips):
    source = manifest(tmp_path, clips, 12)
    shares = "--valid", 0.25, "--test", 0.25
    seen = []
    for seed in (0, 0, 1):
        run(
            source, "--data", tmp_path, *shares, "--split_by", "speaker", "--seed", seed
        )
        names = ("pretrain_transcribed", "pretrain_valid", "pretrain_test")
        sets = [DataDir.load(tmp_path / name, need=["text"]) for name in names]
        speakers = [set(data.tables["utt2spk"].values()) for data in sets]
        assert set.union(*speakers) == {"s0", "s1", "s2", "s3"}
        assert sum(map(len, speakers)) == 4  # none in two sets
        assert sorted(u for d in sets for u in d.utts) == sorted(
            f"u{i}" for i in range(12)
        )
        seen.append(speakers)
    assert seen[0] == seen[1] != seen[2]


def test_recordings_with_and_without_transcripts(tmp_path, clips, capsys):
    source = manifest(tmp_path, clips, 6)
    run(source, "--data", tmp_path, "--valid", 0.3)
    everything = DataDir.load(tmp_path / "pretrain")
    transcribed, valid = (
        DataDir.load(tmp_path / f"pretrain_{name}", need=["text"])
        for name in ("transcribed", "valid")
    )
    assert "text" not in everything.tables
    assert set(transcribed.utts) | set(valid.utts) == {f"u{i}" for i in range(6)}
    assert set(transcribed.utts) < set(everything.utts)
    assert not set(valid.utts) & set(everything.utts)
    with pytest.raises(SystemExit):
        run(source, "--data", tmp_path, "--valid", 0.01)
    assert "--valid: too few to hold out" in capsys.readouterr().err


def test_keys():
    assert to_key("Ärger mit/Räumen 1") == to_key("A\u0308rger mit/Räumen 1")
    assert to_key("Ärger mit/Räumen 1") == "Ärger_mit_Räumen_1"
    keys = unique_keys(["a b", "a_b", "c", "d" * 300, "d" * 301, "???"])
    assert keys["c"] == "c" and len(set(keys.values())) == 6
    assert max(len(key.encode()) for key in keys.values()) < 170
