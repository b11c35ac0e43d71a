"""Every reader of files, given damaged files: a value or a UserError, soon, in little
memory. A new reader is one more line of READERS."""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from espnet_a2m.compat.load import read_parameters
from espnet_a2m.compat.packed import unpack
from espnet_a2m.confidence.ctm import read_ctm
from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.audio import Recording, read_audio
from espnet_a2m.data.datadir import DataDir, Segment, to_segment, write_data_dir
from espnet_a2m.data.formatting.format_jobs import Journal
from espnet_a2m.data.shards import CONFIDENCES, is_complete
from espnet_a2m.data.streams import check_streams
from espnet_a2m.data.tables import iter_counts, iter_scp, read_scp, write_table
from espnet_a2m.evaluation.results import read_result, summary, tables
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.evaluation.wer import evaluate
from espnet_a2m.labels.kmeans import KMeans
from espnet_a2m.labels.label_set import summarise
from espnet_a2m.training.stats import read_stats
from espnet_a2m.training.validate_config import check_config

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]

SECONDS = 30  # for one case; busy machines are slow
SPARE_MEMORY = 1 << 30  # bytes; all files are below 100 kB
KEYS = ["a-1", "a-2", "b-é"]
FS = 16000


# --- Valid files: each function writes some into a folder -------------------------


def data_dir(folder: Path, speech: np.ndarray) -> None:
    for key in KEYS:
        soundfile.write(folder / f"{key}.wav", speech, FS)
    write_data_dir(
        folder,
        {key: folder / f"{key}.wav" for key in KEYS},
        {
            "text": dict.fromkeys(KEYS, "HE SAID SO"),
            "utt2spk": {key: key[0] for key in KEYS},
            "utt2num_samples": dict.fromkeys(KEYS, len(speech)),
            "utt2lang": dict.fromkeys(KEYS, "en"),
        },
        {key: Segment(key, 0.0, 0.25) for key in KEYS},
    )


def audio(folder: Path, speech: np.ndarray) -> None:
    soundfile.write(folder / "a.wav", speech, FS)
    soundfile.write(folder / "b.flac", speech, FS)
    soundfile.write(folder / "c.wav", speech / 32768, FS, "FLOAT")
    flac = (folder / "b.flac").read_bytes()
    head = b"utt AUDIO\4" + len(flac).to_bytes(4, "little")
    (folder / "d.ark").write_bytes(head + flac)


def archives(folder: Path, speech: np.ndarray) -> None:
    data_dir(folder, speech)
    frames = len(speech) // 640 + 1
    values = np.random.default_rng(0).random((frames, 1), np.float32)
    labels = np.arange(frames, dtype=np.int32) % 7
    for name, array, method in (("confidence", values, 7), ("labels", labels, None)):
        kaldiio.save_ark(
            *(str(folder / f"{name}.ark"), dict.fromkeys(KEYS, array)),
            scp=str(folder / f"{name}.scp"),
            compression_method=method,
        )
    write_table(folder / "confidence.value", dict.fromkeys(KEYS, 0.5))
    write_table(folder / "utt2inertia", dict.fromkeys(KEYS, 1.5))
    FrameGrid(FS, 200.0, 640).save(folder / "grid.json")


def texts(folder: Path, speech: np.ndarray) -> None:
    write_table(folder / "ref", dict.fromkeys(KEYS, "HE SAID SO"))
    write_table(folder / "hyp", {KEYS[0]: "HE SO", KEYS[1]: "", KEYS[2]: "HE SAID SO"})
    write_table(folder / "utt2spk", {key: key[0] for key in KEYS})


def configuration(folder: Path, speech: np.ndarray) -> None:
    text = (ROOT / "conf" / "tiny" / "ssl_w2vbert_conformer.yaml").read_text()
    (folder / "a.yaml").write_text(text)
    (folder / "b.yaml").write_text(
        f"{text}\nbase: &b {{x: 1}}\nmore: {{<<: *b, day: 2001-01-01, z: 12:30}}\n"
    )


def result(folder: Path, speech: np.ndarray) -> None:
    texts(folder, speech)
    evaluate(folder / "ref", folder / "hyp", folder / "score_wer", "word", "none")


def kmeans(folder: Path, speech: np.ndarray) -> None:
    centroids = np.random.default_rng(0).random((4, 39), np.float32)
    settings = json.dumps({"features": {"features": "mfcc", "fs": FS}})
    KMeans(centroids, np.arange(4), np.ones(2), settings).save(folder / "km.npz")


def checkpoint(folder: Path, speech: np.ndarray) -> None:
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    reporter.set_epoch(1)
    with reporter.observe("train") as sub:
        sub.register({"loss": torch.tensor(1.5)}, weight=torch.tensor(2.0))
        sub.next()
    states = {"reporter": reporter.state_dict(), "model": {"w": torch.ones(3)}}
    torch.save(states, folder / "checkpoint.pth")


def journal(folder: Path, speech: np.ndarray) -> None:
    write_table(folder / "journal", dict.fromkeys(KEYS, "0a1b 16000 a-1.flac 1234"))


def ctm(folder: Path, speech: np.ndarray) -> None:
    text = ";; a comment\na 1 0.10 0.25 HE 0.98\na 1 0.40 0.20 SAID 0.5\nb 1 0 1 SO 1\n"
    (folder / "ctm").write_text(text)


def model(folder: Path, speech: np.ndarray) -> None:
    configuration(folder, speech)
    (folder / "b.yaml").rename(folder / "c.yaml")
    torch.save({"encoder.w": torch.ones(3, 2), "n": torch.ones(1)}, folder / "m.pth")
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        archive.writestr("meta.yaml", "files: {asr_model_file: m.pth}\n")
        archive.write(folder / "m.pth", "m.pth")


# --- Readers ---------------------------------------------------------------------


class Reader(NamedTuple):
    """What is read: ``make`` writes valid files, ``read`` takes the folder.

    ``files`` are the patterns of those that are damaged; ``cases`` how often.
    """

    make: Callable[[Path, np.ndarray], None]
    files: tuple[str, ...]
    read: Callable[[Path], object]
    cases: int = 640


def read_all_audio(folder: Path) -> None:
    for name in ("a.wav", "b.flac", "c.wav", "d.ark:4"):
        recording = Recording(str(folder / name))
        recording.read(0, recording.info.frames)
        read_audio("utt", str(folder / name), FS)


def read_segments(folder: Path) -> None:
    for utt, value in iter_scp(folder / "segments"):
        to_segment(value, folder / "segments", utt)


def read_confidences(folder: Path) -> None:
    scored = ScoredDataset.load(folder, folder)
    for key in KEYS:
        assert ((x := scored.confidence(key)) >= 0).all() and (x <= 1).all()


def read_results(folder: Path) -> None:
    found = read_result(folder / "score_wer", folder, "WER")
    if found is not None:
        summary([found]), tables([found])


def read_two_streams(folder: Path) -> None:
    names = [("wav.scp", "sound"), ("confidence.scp", "kaldi_ark"), ("text", "text")]
    check_streams((str(folder / name), name, kind) for name, kind in names)


def read_texts(folder: Path) -> None:
    evaluate(folder / "ref", folder / "hyp", folder, "word", "none")


TABLES = ("text", "utt2*", "segments", "wav.scp")
SCORES = ("confidence.*", "utt2*", "*.json")
READERS = {
    "table": Reader(data_dir, ("text",), lambda d: read_scp(d / "text", True)),
    "segments": Reader(data_dir, ("seg*",), read_segments),
    "counts": Reader(
        data_dir, ("*num*",), lambda d: dict(iter_counts(d / "utt2num_samples"))
    ),
    "data directory": Reader(data_dir, TABLES, DataDir.load),
    "audio": Reader(audio, ("*",), read_all_audio, 1000),
    "confidences": Reader(archives, SCORES, read_confidences),
    "labels": Reader(
        archives, ("labels*", "*inertia"), lambda d: summarise(d, 7, 0.01)
    ),
    "chunk": Reader(
        archives,
        SCORES[:1],
        lambda d: is_complete(d / "confidence", CONFIDENCES, KEYS),
    ),
    "streams": Reader(archives, ("*.scp", "text"), read_two_streams),
    "grid": Reader(archives, ("grid.json",), lambda d: FrameGrid.load(d / "grid.json")),
    "YAML": Reader(configuration, ("b*",), lambda d: load_config(d / "b.yaml"), 400),
    "options": Reader(
        configuration, ("a*",), lambda d: check_config(d / "a.yaml", "ssl")
    ),
    "scoring": Reader(texts, ("*",), read_texts, 500),
    "results": Reader(result, ("score_wer/result.*",), read_results, 400),
    "k-means": Reader(kmeans, ("km.npz",), lambda d: KMeans.load(d / "km.npz")),
    "statistics": Reader(checkpoint, ("*",), read_stats),
    "journal": Reader(journal, ("*",), lambda d: Journal(d / "journal"), 200),
    "CTM": Reader(ctm, ("*",), lambda d: read_ctm(d / "ctm")),
    "configuration": Reader(model, ("c*",), lambda d: load_config(d / "c.yaml"), 300),
    "parameters": Reader(model, ("m.pth",), lambda d: read_parameters(d / "m.pth", 0)),
    "packed model": Reader(model, ("m.zip",), lambda d: unpack(d / "m.zip")),
}
READERS["options"] = READERS["options"]._replace(cases=50)  # slower than all the rest
# --- Damage ----------------------------------------------------------------------

NUMBERS = ["0", "-1", "-0.0", "1e999", "nan", "inf", "9" * 20, "²", "1_0", "0x10"]
SPLICES = [b"\0", b"\xff\xfe", b"\xc3", b"\r", b"\n\n", b" |", b"$(x)", b"\xe2\x80\xa8"]
SPLICES += [b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0\0\0\x80", b"[" * 5000, b"{" * 3000]
SPLICES += [b"9" * 5000, b": ", b"- " * 500, b"&a [*a, *a]", b"!!int ", b"!!float x"]
BOMB = b"a0: &a0 {x: 1}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9))
    for i in range(1, 30)
)


def damage(rng: random.Random, content: bytes) -> bytes:
    """One to four changes of a file."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.4:  # most of what is read is at the beginning
            at = rng.randrange(min(len(data), 100) + 1)
        end = min(len(data), at + rng.choice([1, 2, 4, 30, 1000]))
        kind = rng.randrange(9)
        if kind == 0:
            data[at:end] = rng.randbytes(end - at)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * rng.choice([1, 2, 50])
        elif kind in (4, 5):
            data[at:at] = rng.choice(SPLICES)
        elif kind == 6:
            data[at:end] = rng.choice(SPLICES)[: end - at]
        elif kind == 7 and (found := list(re.finditer(rb"[\d.]+", data))):
            number = rng.choice(found)
            data[number.start() : number.end()] = rng.choice(NUMBERS).encode()
        else:
            lines = data.split(b"\n")
            rng.shuffle(lines)
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def damaged(rng: random.Random, case: int, content: bytes) -> bytes:
    """The content of a case: the first few are the same for all readers."""
    first = [b"", b"\n", b"\0" * 100, BOMB, b"[" * 50_000, b"a: " * 20_000, b"a\xff"]
    if case < len(first):
        return first[case]
    return rng.randbytes(rng.randrange(300)) if case % 20 == 0 else damage(rng, content)


@pytest.fixture
def guarded():
    """Little memory, and a clock: starts it for the next case."""

    def hang(*_):
        pytest.fail(f"it has not ended after {SECONDS} s")

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MEMORY, limits[1]))
    handler = signal.signal(signal.SIGALRM, hang)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_in_words(
    name, tmp_path, short_utterances, guarded, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    reader = READERS[name]
    speech = soundfile.read(short_utterances[0][1], dtype="int16")[0][:8000]
    reader.make(tmp_path, speech)
    if name == "options":
        reader.read(tmp_path)  # imports ESPnet, which takes memory
    files = sorted({f for pattern in reader.files for f in tmp_path.glob(pattern)})
    files = [f for f in files if f.is_file()]
    complete = {file: file.read_bytes() for file in files}
    reader.read(tmp_path)
    refused = 0
    for case in range(reader.cases):
        rng = random.Random(f"{name} {case}")
        file = rng.choice(files)
        file.write_bytes(damaged(rng, case, complete[file]))
        guarded()
        try:
            refused += reader.read(tmp_path) is False
        except UserError as error:
            refused += 1
            assert str(error)
        except BaseException as error:
            kept = tmp_path / f"case-{case}"
            kept.write_bytes(file.read_bytes())
            raise AssertionError(f"{file.name}, case {case}: see {kept}") from error
        file.write_bytes(complete[file])
    assert refused > reader.cases / 10 or name == "journal"  # which drops such lines


def test_there_are_enough_cases():
    assert sum(reader.cases for reader in READERS.values()) >= 10_000
