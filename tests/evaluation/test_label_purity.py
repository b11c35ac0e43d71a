"""Purity of frame labels against alignments, and alignments by CTC."""

from __future__ import annotations

import json

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from espnet_a2m.bin.label_purity import main
from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import read_scp
from espnet_a2m.evaluation.label_purity import (
    SILENCE,
    align_characters,
    label_pairs,
    label_purity,
    purity,
    read_alignment,
)

pytestmark = pytest.mark.espnet

GRID = FrameGrid(fs=16000, offset=480.0, stride=640)


def write_labels(directory, labels):
    """A set as bin.labels writes it."""
    directory.mkdir()
    with kaldiio.WriteHelper(f"ark,scp:{directory}/l.ark,{directory}/labels.scp") as w:
        for utt, classes in sorted(labels.items()):
            w(utt, np.array(classes, np.int32))
    GRID.save(directory / "grid.json")
    return directory


def test_purities_and_pnmi_are_their_definitions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 500)
    said = np.where(rng.random(500) < 0.6, labels // 2, rng.integers(0, 4, 500))
    shares = np.array(
        [[(said == y) & (labels == z) for z in range(7)] for y in range(4)]
    )
    joint = shares.mean(-1)  # p(y, z)
    of_y, of_z = joint.sum(1), joint.sum(0)
    reference = sum(of_z[z] * max(joint[:, z] / of_z[z]) for z in range(7))
    cluster = sum(of_y[y] * max(joint[y] / of_y[y]) for y in range(4))
    information = (joint * np.log(joint / np.outer(of_y, of_z))).sum()
    expected = {
        "reference_purity": reference,
        "cluster_purity": cluster,
        "pnmi": information / -(of_y * np.log(of_y)).sum(),
    }
    assert purity(said.astype(str).tolist(), labels) == pytest.approx(expected)
    best = {"reference_purity": 1, "cluster_purity": 1, "pnmi": 1}
    names = [f"c{i}" for i in labels]
    assert purity(names, (labels * 3) % 7) == pytest.approx(best)
    assert purity(["a"] * 500, labels)["pnmi"] == 0


def test_frames_get_what_is_said_at_their_centres(tmp_path):
    labels = write_labels(tmp_path / "dev", {"u1": range(6), "u2": [3], "u3": [1, 2]})
    ctm = tmp_path / "dev.ctm"  # without confidences; frame i is at .03 + i * .04 s
    ctm.write_text(
        "u1 1 0.02 0.06 AH\nu1 1 0.08 0.04 SIL\nu1 1 0.14 0.05 B\nu3 1 0 1 C\n"
    )
    pairs = [*label_pairs(labels, read_alignment(None, str(ctm), None))]
    assert pairs[0][0] == ["AH", "AH", SILENCE, "B", SILENCE, SILENCE]
    assert pairs[0][1].tolist() == [0, 1, 2, 3, 4, 5]
    assert [said for said, _ in pairs[1:]] == [["C", "C"]]
    found = label_purity(labels, read_alignment(None, str(ctm), None))
    assert (found["utterances"], found["frames"]) == (2, 8)
    assert found["silence"] == 3 / 8 and found["reference_classes"] == 4
    ctm.write_text("v1 1 0.02 0.06 AH\n")
    with pytest.raises(UserError, match="has none of its utterances, but such as v1"):
        label_purity(labels, read_alignment(None, str(ctm), None))
    with pytest.raises(UserError, match="give --ctm, or --data and --asr_model_file"):
        read_alignment("dev", None, None)


def test_characters_reach_halfway_to_their_neighbours(data, scorer, monkeypatch):
    """A model that is certain of the frames of each character."""
    from espnet_a2m.confidence.espnet import ESPnetScorer

    labels = (data / "tokens.txt").read_text().split("\n")
    texts = iter(read_scp(data / "text").values())

    def logits(self, speech, speech_lengths):
        text = ["<space>" if c == " " else c for c in next(texts)]
        # two frames of blank before each character and three after the last
        ids = [i for c in text for i in (0, 0, labels.index(c))] + [0, 0, 0]
        return 20 * torch.eye(len(labels))[ids][None], torch.tensor([len(ids)])

    monkeypatch.setattr(ESPnetScorer, "logits", logits)
    aligned = align_characters(data, str(scorer / "1epoch.pth"))
    grid = ESPnetScorer(str(scorer / "1epoch.pth")).grid
    for utt, text in read_scp(data / "text").items():
        words = aligned[utt]
        assert "".join(w.word for w in words).replace("<space>", " ") == text
        starts = np.array([w.start for w in words]) * grid.fs
        starts = (starts - grid.offset) / grid.stride + 0.5
        # character i is frame 3 i + 2; between it and the next are two frames
        expected = [2, *(3 * i + 1 for i in range(1, len(words)))]
        np.testing.assert_allclose(starts, expected)
        ends = [w.start + w.duration for w in words]
        np.testing.assert_allclose(ends[:-1], [w.start for w in words[1:]])
        last = (ends[-1] * grid.fs - grid.offset) / grid.stride + 0.5
        assert last == pytest.approx(3 * len(words))


def test_command_on_real_speech(data, scorer, tmp_path, capsys):
    from espnet_a2m.bin.labels import main as label

    fit = ["--fit_data", str(data), "--data", str(data), "--num_clusters", "12"]
    label([*fit, "--output_dir", str(tmp_path)])
    labels, output = tmp_path / data.name, tmp_path / "purity.json"
    command = ["--labels", str(labels), "--data", str(data), "--output", str(output)]
    main([*command, "--asr_model_file", str(scorer / "1epoch.pth")])
    found = json.loads(output.read_text())
    assert f"PNMI {found['pnmi']:.3f}" in capsys.readouterr().out
    assert found["utterances"] == len(read_scp(data / "text"))
    paths = read_scp(data / "wav.scp").values()
    samples = sum(soundfile.info(path).frames for path in paths)
    assert found["frames"] == pytest.approx(samples / 160, rel=0.02)
    # aligned by one epoch's model, but not by chance
    assert found["shuffled"]["pnmi"] < found["pnmi"] < 1


def test_transcripts_that_cannot_be_aligned_are_named(data, scorer, tmp_path):
    texts = read_scp(data / "text")
    first, second = sorted(texts)[:2]
    texts |= {first: "É!", second: "A" * 5000}
    (tmp_path / "wav.scp").write_bytes((data / "wav.scp").read_bytes())
    (tmp_path / "text").write_text("".join(f"{u} {t}\n" for u, t in texts.items()))
    with pytest.raises(DataError) as error:
        align_characters(tmp_path, str(scorer / "1epoch.pth"))
    message = str(error.value)
    assert f"2 of {len(texts)} transcripts cannot be aligned" in message
    assert f"{first} (! É is no token)" in message
    assert f"{second} (5000 in " in message
