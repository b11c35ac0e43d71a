"""Scoring by ESPnet's models through the command line, and what it refuses."""

from __future__ import annotations

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet


def test_scores_are_those_of_the_model_alone(data, scorer, confidence):
    from espnet2.tasks.asr import ASRTask

    from espnet_a2m.core.frames import FrameGrid

    model, _ = ASRTask.build_model_from_file(
        scorer / "config.yaml", scorer / "1epoch.pth"
    )
    model.eval()
    grid = FrameGrid.load(confidence / "grid.json")
    utt2conf = read_scp(confidence / "utt2conf")
    scp = read_scp(confidence / "confidence.scp")
    audio = read_scp(data / "wav.scp")
    assert set(scp) == set(audio) == set(utt2conf)
    for utt_id in list(audio)[::5]:
        speech, _ = soundfile.read(audio[utt_id], dtype="float32")
        with torch.no_grad():
            encoded, _ = model.encode(
                torch.from_numpy(speech)[None], torch.tensor([len(speech)])
            )
            posteriors = model.ctc.softmax(encoded)[0].numpy()
        want = posteriors[:, 1:].max(-1)  # without the blank
        stored = kaldiio.load_mat(scp[utt_id])
        assert stored.shape == (grid.num_frames(len(speech)), 1)
        np.testing.assert_allclose(stored[:, 0], want, atol=0.5 / 255 + 1e-5)
        assert float(utt2conf[utt_id]) == pytest.approx(
            posteriors.max(-1).mean(), abs=1e-4
        )


def test_scoring_goes_on_where_it_was_killed(
    data, scorer, confidence, monkeypatch, tmp_path
):
    from espnet_a2m.bin.score import main
    from espnet_a2m.data import shards

    monkeypatch.setattr(shards, "CHUNK_UTTERANCES", 7)
    options = ["--asr_model_file", str(scorer / "1epoch.pth"), "--data", str(data)]
    options += ["--output_dir", str(tmp_path)]
    main(options)
    want = {
        u: kaldiio.load_mat(x) for u, x in read_scp(tmp_path / "confidence.scp").items()
    }
    # as after an interruption in the second chunk: its table is missing, an ark is cut
    (tmp_path / "confidence.scp").unlink()
    (chunks,) = (tmp_path / "chunks").iterdir()
    (chunks / "000001.scp").unlink()
    ark = chunks / "000001.ark"
    ark.write_bytes(ark.read_bytes()[:100])
    untouched = (chunks / "000000.ark").stat().st_mtime_ns
    main(options)
    got = {
        u: kaldiio.load_mat(x) for u, x in read_scp(tmp_path / "confidence.scp").items()
    }
    assert got.keys() == want.keys()
    assert all(np.array_equal(got[u], want[u]) for u in want)
    assert (chunks / "000000.ark").stat().st_mtime_ns == untouched
    # another blank policy is other scores: everything is scored again
    main([*options, "--blank", "include"])
    assert not chunks.exists() and len(list((tmp_path / "chunks").iterdir())) == 1


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((8000, 2)), "channels"),
        (np.zeros(0), "zero-length"),
        (np.zeros(300), "too short"),
        (np.array([0.1] * 4000 + [np.nan] * 4000), "NaN"),
        (None, "cannot be read"),
    ],
)
def test_scoring_names_bad_audio(audio, message, scorer, tmp_path, capsys):
    from espnet_a2m.bin.score import main

    path = tmp_path / "bad.wav"
    if audio is None:
        path.write_bytes(b"RIFF")
    else:
        soundfile.write(path, audio, 16000, subtype="FLOAT")
    write_table(tmp_path / "wav.scp", {"the_bad_one": path})
    with pytest.raises(SystemExit):
        main(
            ["--asr_model_file", str(scorer / "1epoch.pth"), "--data", str(tmp_path)]
            + ["--output_dir", str(tmp_path / "out")]
        )
    error = capsys.readouterr().err
    assert "the_bad_one" in error and message in error
    assert not (tmp_path / "out" / "confidence.scp").exists()


def test_scorer_that_does_not_fit_is_refused(scorer, tmp_path):
    from espnet_a2m.confidence.espnet import ESPnetScorer
    from espnet_a2m.core.errors import UserError

    state = torch.load(scorer / "1epoch.pth", weights_only=True)
    state.pop("ctc.ctc_lo.weight")
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(UserError, match="ctc.ctc_lo.weight"):
        ESPnetScorer(str(tmp_path / "model.pth"), str(scorer / "config.yaml"))
    with pytest.raises(UserError, match="scorer_model"):
        ESPnetScorer(str(tmp_path / "absent.pth"))
