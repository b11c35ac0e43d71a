"""Pseudo-labels: features, their grids, the fit, labelling, interruptions, errors."""

from __future__ import annotations

import itertools
import json
import shutil
import tracemalloc
from pathlib import Path

import joblib
import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from sklearn.cluster import MiniBatchKMeans

from espnet_a2m.bin.labels import main
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.labels.features import MFCC, read_frames
from espnet_a2m.labels.fit import fit
from espnet_a2m.labels.kmeans import KMeans, load_arrays, save_arrays

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]
NUM_CLUSTERS = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory, short_utterances) -> Path:
    """``train`` with 20 and ``dev`` with 5 utterances, 60 s in all."""
    directory = tmp_path_factory.mktemp("data")
    for name, part in {"train": slice(0, 40, 2), "dev": slice(40, 45)}.items():
        table = {utt: path for utt, path, _ in short_utterances[part]}
        write_table(directory / name / "wav.scp", table)
    return directory


def options(data: Path, output: Path | str, *extra: object) -> list[str]:
    sets = [str(data / name) for name in ("train", "dev")]
    return [
        *("--fit_data", sets[0], "--data", *sets, "--output_dir", str(output)),
        *("--num_clusters", str(NUM_CLUSTERS)),
        *map(str, extra),
    ]


@pytest.fixture(scope="module")
def mfcc_labels(tmp_path_factory, data) -> Path:
    """Labels of both sets by MFCC."""
    output = tmp_path_factory.mktemp("labels")
    main(options(data, output))
    return output


def save_untrained(task, path: Path, *options: str, **attributes: object) -> Path:
    """Checkpoint of a small model as a task's training leaves it, not trained."""
    from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

    args = task.get_parser().parse_args(
        [*options, "--encoder_conf", "output_size=32", "--encoder_conf"]
        + ["linear_units=64", "--normalize", "utterance_mvn"]
        + ["--output_dir", str(path.parent)]
    )
    vars(args).update(attributes)
    torch.manual_seed(0)
    model = task.build_model(args)
    config = yaml_no_alias_safe_dump(vars(args))
    (path.parent / "config.yaml").write_text(config)
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def ssl_model(tmp_path_factory) -> Path:
    """Checkpoint of a pre-training run."""
    from espnet_a2m.training.task import A2MTask

    config = ["--config", str(ROOT / "conf/tiny/ssl_w2vbert_conformer.yaml")]
    options = [*config, "--masking_conf", "guidance=uniform"]
    return save_untrained(
        A2MTask, tmp_path_factory.mktemp("ssl") / "1epoch.pth", *options
    )


@pytest.fixture(scope="module")
def asr_model(tmp_path_factory) -> Path:
    """Checkpoint of a CTC scorer."""
    from espnet2.tasks.asr import ASRTask

    config = ["--config", str(ROOT / "conf/tiny/asr_ctc_conformer.yaml")]
    path = tmp_path_factory.mktemp("scorer") / "valid.loss.ave.pth"
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    return save_untrained(ASRTask, path, *config, token_list=tokens)


def nearest(frames: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and squared distances by the definition, in float64."""
    difference = frames[:, None].astype(np.float64) - centroids[None]
    distances = (difference**2).sum(-1)
    return distances.argmin(1), distances.min(1)


# --- Features -------------------------------------------------------------------


@pytest.mark.parametrize("fs", [16000, 8000])
def test_mfcc_frames_are_where_the_grid_says(fs):
    features = MFCC(fs)
    noise = np.random.default_rng(0).normal(0, 0.01, 3 * fs // 2).astype(np.float32)
    for length in (*range(0, 1200, 37), 399, 400, 559, 560, 199, 200, 279, 280, 12000):
        frames = features(noise[:length])
        assert frames.shape == (features.grid.num_frames(length), features.dim)
    for centre in range(2000, 8000, 777):
        speech = noise / 100
        speech[centre - 8 : centre + 8] += 0.5  # shorter than a frame's step
        frames = features(speech)
        power = frames[:, 0].numpy()
        loud = np.flatnonzero(power > (power.max() + np.median(power)) / 2)
        at = features.grid.offset + features.grid.stride * loud.mean()
        assert abs(at - centre) <= features.grid.stride


def test_deltas_are_the_slope_over_five_frames(short_utterances):
    _, path, _ = short_utterances[0]
    frames = MFCC(16000)(soundfile.read(path, dtype="float32")[0]).numpy()
    for low in (0, 13):
        padded = np.pad(frames[:, low : low + 13], ((2, 2), (0, 0)), mode="edge")
        rows = len(frames)
        slope = sum(n * padded[2 + n : 2 + n + rows] for n in range(-2, 3)) / 10
        np.testing.assert_allclose(frames[:, low + 13 : low + 26], slope, atol=1e-4)


@pytest.mark.parametrize("kind", ["ssl_model", "asr_model"])
def test_layer_is_that_of_the_encoder_alone(kind, request, short_utterances):
    from espnet_a2m.labels.layer import LayerFeatures

    speech, _ = soundfile.read(short_utterances[3][1], dtype="float32")
    for layer in (2, 4):
        features = LayerFeatures(request.getfixturevalue(kind), layer)
        model = features.model
        seen = []
        hook = model.encoder.encoders[layer - 1].register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(output[0])
        )
        with torch.no_grad():
            feats = model.frontend(
                torch.from_numpy(speech)[None], torch.tensor([len(speech)])
            )
            output = model.encoder(*model.normalize(*feats))[0]
        hook.remove()
        hidden = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        want = output if layer == 4 else hidden
        torch.testing.assert_close(features(speech), want[0], atol=1e-5, rtol=1e-4)
    assert features.grid == FrameGrid(16000, 480.0, 640)
    for length in (*range(0, 4000, 331), 1119, 1120, 1759, 1760, len(speech)):
        frames = features(speech[:length])
        assert frames.shape == (features.grid.num_frames(length), features.dim)


# --- The fit --------------------------------------------------------------------


def test_inertia_is_that_of_full_kmeans(data, tmp_path):
    from sklearn.cluster import KMeans as FullKMeans

    features = MFCC(16000)
    audio = read_scp(data / "train" / "wav.scp")
    frames = np.concatenate([read_frames(features, *item) for item in audio.items()])
    full = FullKMeans(NUM_CLUSTERS, n_init=5, random_state=0).fit(frames)
    ours = fit(data / "train" / "wav.scp", tmp_path / "km.npz", features, NUM_CLUSTERS)
    _, distances = nearest(frames, ours.centroids)
    assert distances.sum() < 1.03 * full.inertia_
    assert (np.diff(ours.inertia) < 0).all()  # Lloyd's never gets worse
    assert distances.mean() <= ours.inertia[-1]
    assert ours.counts.sum() == len(frames)


def test_fit_depends_on_the_seed_alone(data, tmp_path):
    wav_scp = data / "train" / "wav.scp"

    def centroids(name, seed, fraction):
        path = tmp_path / f"{name}.npz"
        return fit(wav_scp, path, MFCC(16000), 16, seed, fraction).centroids

    first = centroids("a", 1, 0.5)
    np.testing.assert_array_equal(first, centroids("b", 1, 0.5))
    # a file of other settings is not taken for its own
    assert not np.array_equal(first, centroids("b", 2, 0.5))
    assert not np.array_equal(first, centroids("b", 1, 1.0))
    assert not list(tmp_path.glob("*.partial.npz"))


class WideFeatures:
    """500 samples as one frame of as many dimensions."""

    dim = 500
    grid = FrameGrid(16000, 250.0, 500)
    description: dict[str, object] = {"features": "wide"}

    def __call__(self, speech: np.ndarray) -> torch.Tensor:
        rows = len(speech) // self.dim
        return torch.from_numpy(speech[: rows * self.dim].reshape(rows, -1) * 2)


def test_memory_does_not_grow_with_the_corpus(short_utterances, tmp_path):
    peaks = []
    for copies in (1, 4):
        table = {
            f"{utt}-{i}": path
            for utt, path, _ in short_utterances[:40]
            for i in range(copies)
        }
        write_table(tmp_path / "wav.scp", dict(sorted(table.items())))
        tracemalloc.start()
        path = tmp_path / "km.npz"
        kmeans = fit(tmp_path / "wav.scp", path, WideFeatures(), 2, max_passes=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    all_frames = int(kmeans.counts.sum()) * WideFeatures.dim * 4
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < all_frames / 3


def test_empty_clusters_are_warned_of(tmp_path, caplog):
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(16000), 16000)
    write_table(tmp_path / "wav.scp", {f"u{i}": tmp_path / f"{i}.wav" for i in "012"})
    fit(tmp_path / "wav.scp", tmp_path / "km.npz", MFCC(16000), 4, max_passes=1)
    assert "3 of 4 clusters have no frame" in caplog.text


# --- Labels ---------------------------------------------------------------------


def test_labels_are_the_nearest_centroids_of_one_kmeans(data, mfcc_labels):
    from espnet2.train.dataset import ESPnetDataset

    features = MFCC(16000)
    centroids = KMeans.load(mfcc_labels / "km.npz").centroids
    for name in ("train", "dev"):
        output = mfcc_labels / name
        audio = read_scp(data / name / "wav.scp")
        dataset = ESPnetDataset([(f"{output}/labels.scp", "labels", "kaldi_ark")])
        utt2inertia = read_scp(output / "utt2inertia")
        assert FrameGrid.load(output / "grid.json") == features.grid
        assert set(read_scp(output / "labels.scp")) == set(audio) == set(utt2inertia)
        classes = []
        for utt_id, source in audio.items():
            labels = dataset[utt_id][1]["labels"]
            assert labels.dtype == np.int64
            frames = read_frames(features, utt_id, source).numpy()
            want, distances = nearest(frames, centroids)
            np.testing.assert_array_equal(labels, want)
            assert float(utt2inertia[utt_id]) == pytest.approx(distances.mean(), 1e-4)
            classes.append(labels)
        summary = json.loads((output / "labels.json").read_text())
        runs = sum(len(list(itertools.groupby(labels))) for labels in classes)
        classes = np.concatenate(classes)
        share = np.unique(classes, return_counts=True)[1] / len(classes)
        assert summary["num_classes"] == NUM_CLUSTERS
        assert summary["num_frames"] == len(classes)
        assert summary["classes_in_use"] == len(share)
        assert summary["empty_share"] == pytest.approx(1 - len(share) / NUM_CLUSTERS)
        assert summary["perplexity"] == pytest.approx(np.prod(share**-share))
        assert summary["mean_run_ms"] == pytest.approx(10 * len(classes) / runs)


def test_layer_labels_and_their_errors(data, ssl_model, mfcc_labels, tmp_path, capsys):
    layer = ["--model_file", ssl_model, "--layer", "3"]
    main(options(data, tmp_path / "labels", *layer))
    for name in ("train", "dev"):
        grid = FrameGrid.load(tmp_path / "labels" / name / "grid.json")
        arrays = kaldiio.load_scp(str(tmp_path / "labels" / name / "labels.scp"))
        for utt_id, source in read_scp(data / name / "wav.scp").items():
            samples = soundfile.info(source).frames
            assert arrays[utt_id].shape == (grid.num_frames(samples),)
            assert arrays[utt_id].dtype == np.int32

    state = torch.load(ssl_model)
    broken = tmp_path / "exp"
    shutil.copytree(ssl_model.parent, broken)
    name = next(key for key in state if key.startswith("encoder.encoders.0"))
    rest = {key: value for key, value in state.items() if key != name}
    torch.save(rest, broken / "incomplete.pth")
    torch.save({**rest, name: state[name] * torch.nan}, broken / "nan.pth")
    label_by_mfcc = ["--kmeans", f"{mfcc_labels}/km.npz", "--data", f"{data}/dev"]
    for wrong, message in (
        ([*layer[:3], "9"], "choose --layer from 1 to 4"),
        (["--model_file", ssl_model], "--model_file and --layer go together"),
        (["--model_file", broken / "none.pth", "--layer", "1"], "no such file"),
        (["--model_file", broken / "incomplete.pth", "--layer", "1"], "does not fit"),
        (["--model_file", broken / "nan.pth", "--layer", "1"], "not finite"),
        (
            [*label_by_mfcc, *layer],
            "fitted on {'features': 'mfcc', 'fs': 16000}, not on",
        ),
    ):
        command = [*wrong, "--output_dir", tmp_path / "wrong"]
        if "--kmeans" not in wrong:
            command = options(data, tmp_path / "wrong", *wrong)
        with pytest.raises(SystemExit):
            main(list(map(str, command)))
        assert message in capsys.readouterr().err


def test_errors_name_the_cause(data, mfcc_labels, tmp_path, capsys):
    def error(*command):
        with pytest.raises(SystemExit):
            main(list(map(str, command)))
        return capsys.readouterr().err

    many = ["--num_clusters", "100000"]
    assert "fewer than 100000 clusters" in error(*options(data, tmp_path, *many))
    said = error(*options(data, tmp_path, "--fit_hours", "1"))
    assert "train/utt2num_samples" in said and "format_wav" in said
    assert "fit the k-means first" in error(*options(data, tmp_path, "--nj", "2"))
    assert "--job 0 must be from 1" in error(*options(data, tmp_path, "--job", "0"))
    soundfile.write(tmp_path / "short.wav", np.ones(300) / 9, 16000)
    write_table(tmp_path / "short" / "wav.scp", {"u": tmp_path / "short.wav"})
    label = ["--kmeans", mfcc_labels / "km.npz", "--output_dir", tmp_path / "out"]
    write_table(tmp_path / "short" / "utt2num_samples", {"other": 300})
    said = error(*label, "--data", tmp_path / "short")
    assert "utt2num_samples: 1 of 1 utterances of" in said and "missing: u;" in said
    write_table(tmp_path / "short" / "utt2num_samples", {"u": 300})
    assert "utterance u (300 samples) is too short" in error(
        *label, "--data", tmp_path / "short"
    )
    label += ["--data", data / "dev"]
    assert "two sets of one name" in error(*label, data / "dev")
    assert "not on" in error(*label, "--fs", "8000")

    old = tmp_path / "old.npz"
    arrays = load_arrays(mfcc_labels / "km.npz")
    np.savez(old, **arrays, format=0)
    label[1] = old
    assert "another release" in error(*label)
    save_arrays(old, {"centroids": arrays["centroids"]})
    assert "not a k-means" in error(*label)
    np.savez(old, centroids=np.array([{}], dtype=object))
    assert "not a k-means" in error(*label)
    old.write_bytes(b"PK")
    assert "not a k-means" in error(*label)


def test_scikit_learns_kmeans_is_read_only_if_trusted(data, tmp_path, capsys):
    """As ESPnet's HuBERT recipe saves it; other features than it had are refused."""
    features = MFCC(16000)
    wavs = read_scp(data / "dev" / "wav.scp")
    frames = {u: read_frames(features, u, path).numpy() for u, path in wavs.items()}
    fitted = MiniBatchKMeans(8, n_init=1, random_state=0)
    fitted.fit(np.concatenate(list(frames.values())))
    file = tmp_path / "km_8.mdl"
    joblib.dump(fitted, file, compress=3)
    command = ["--kmeans", str(file), "--data", str(data / "dev")]
    command += ["--output_dir", str(tmp_path / "labels")]
    with pytest.raises(SystemExit):
        main(command)
    said = capsys.readouterr().err
    assert f"{file}: not the km.npz" in said and "give --trust_checkpoint true" in said

    command += ["--trust_checkpoint", "true"]
    main(command)
    labels = read_scp(tmp_path / "labels" / "dev" / "labels.scp")
    for utt_id, expected in frames.items():
        same = kaldiio.load_mat(labels[utt_id]) == fitted.predict(expected)
        assert same.mean() > 0.999  # distances that are equal in float32
    summary = json.loads((tmp_path / "labels" / "dev" / "labels.json").read_text())
    assert summary["num_classes"] == 8 and len(summary["kmeans"]["sha256"]) > 10

    joblib.dump(fitted.fit(frames[utt_id][:, :13]), file)
    for content, message in (
        (None, "its centroids are (8, 13), but a frame has 39 features"),
        (b"no pickle", "not a k-means of scikit-learn"),
    ):
        if content:
            file.write_bytes(content)
        with pytest.raises(SystemExit):
            main(command)
        assert message in capsys.readouterr().err


def test_jobs_label_as_one(data, mfcc_labels, tmp_path, monkeypatch, capsys):
    """Two jobs, and merging what they write, give the same labels."""
    from espnet_a2m.data import shards

    monkeypatch.setattr(shards, "CHUNK_UTTERANCES", 6)
    words = ["--kmeans", str(mfcc_labels / "km.npz"), "--output_dir", str(tmp_path)]
    words += ["--data", str(data / "train"), str(data / "dev"), "--nj", "2"]
    main([*words, "--job", "2"])
    with pytest.raises(SystemExit):
        main(words)
    said = capsys.readouterr().err
    assert "job 1 of 2 is not done" in said and "espnet_a2m.bin.labels" in said
    main([*words, "--job", "1"])
    assert not list(tmp_path.rglob("labels.scp"))
    main(words)
    for name in ("train", "dev"):
        ours, alone = tmp_path / name, mfcc_labels / name
        want = read_scp(alone / "labels.scp")
        got = read_scp(ours / "labels.scp")
        assert list(got) == list(want)
        for utt, source in want.items():
            np.testing.assert_array_equal(
                kaldiio.load_mat(got[utt]), kaldiio.load_mat(source)
            )
        for file in ("labels.json", "grid.json", "utt2inertia"):
            assert (ours / file).read_bytes() == (alone / file).read_bytes()


def test_a_part_of_the_hours_is_fitted_on(data, tmp_path):
    """The utterances add up to the hours, by the lengths in utt2num_samples."""
    for name in ("train", "dev"):
        table = read_scp(data / name / "wav.scp")
        write_table(tmp_path / name / "wav.scp", table)
        lengths = {utt: soundfile.info(path).frames for utt, path in table.items()}
        write_table(tmp_path / name / "utt2num_samples", lengths)
    total = sum(map(int, read_scp(tmp_path / "train/utt2num_samples").values()))
    half = total / 16000 / 3600 / 2
    main(options(tmp_path, tmp_path / "half", "--fit_hours", half))
    main(options(tmp_path, tmp_path / "more", "--fit_hours", 100))
    main(options(tmp_path, tmp_path / "all"))
    km = {n: KMeans.load(tmp_path / n / "km.npz") for n in ("half", "more", "all")}
    assert json.loads(km["half"].settings)["fraction"] == pytest.approx(0.5)
    assert 0.3 < km["half"].counts.sum() / km["all"].counts.sum() < 0.7
    np.testing.assert_array_equal(km["more"].centroids, km["all"].centroids)


def test_labels_are_written_again_by_another_kmeans_only(data, tmp_path):
    def written() -> dict[str, bytes]:
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {str(f.relative_to(tmp_path)): f.read_bytes() for f in files}

    main(options(data, tmp_path))
    (ark,) = (tmp_path / "dev" / "chunks").glob("*/000000.ark")
    before, modified = written(), ark.stat().st_mtime_ns
    main(options(data, tmp_path))
    assert written() == before
    assert ark.stat().st_mtime_ns == modified
    ark.write_bytes(ark.read_bytes()[:-1])  # cut off: written again
    main(options(data, tmp_path))
    assert written() == before
    main(options(data, tmp_path, "--seed", 7))
    after = written()
    same = {name for name in before if before[name] == after.get(name)}
    assert same == {"train/grid.json", "dev/grid.json"}
