"""Scorers other than ESPnet's, through the command line and against definitions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from helpers.random_scorer import small_wav2vec2

from espnet_a2m.confidence.ctm import CTMScorer, read_ctm
from espnet_a2m.confidence.energy import energy_confidence
from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory, short_utterances) -> Path:
    """A formatted data directory of 8 utterances, 2 to 7 s."""
    directory = tmp_path_factory.mktemp("data")
    chosen = {utt: path for utt, path, _ in short_utterances[6::6]}
    write_table(directory / "wav.scp", chosen)
    samples = {utt: soundfile.info(path).frames for utt, path in chosen.items()}
    write_table(directory / "utt2num_samples", samples)
    return directory


@pytest.fixture(scope="module")
def audio(data) -> dict[str, np.ndarray]:
    table = read_scp(data / "wav.scp")
    return {u: soundfile.read(path, dtype="float32")[0] for u, path in table.items()}


def score(data, output, *options) -> dict[str, np.ndarray]:
    from espnet_a2m.bin.score import main

    main(["--data", str(data), "--output_dir", str(output), *map(str, options)])
    table = read_scp(output / "confidence.scp")
    return {utt: kaldiio.load_mat(source)[:, 0] for utt, source in table.items()}


def conf(**options) -> list[str]:
    return [x for k, v in options.items() for x in ("--scorer_conf", f"{k}={v}")]


# --- The example of the documentation -------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """voicing.py, as docs/scorers.md has it."""
    page = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    lines = [line for line in code.splitlines() if line and "import" not in line]
    assert len(lines) <= 20
    folder = tmp_path_factory.mktemp("example")
    (folder / "voicing.py").write_text(code)
    return folder


def test_the_documented_example_runs(example, data, audio, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(example)
    options = ["--scorer", "voicing:Voicing", *conf(lowest=100)]
    single = score(data, tmp_path / "single", *options)
    batched = score(data, tmp_path / "batched", *options, "--batch_seconds", 60)
    for utt, speech in audio.items():
        assert len(single[utt]) == (len(speech) - 640) // 160 + 1
        np.testing.assert_allclose(single[utt], batched[utt], atol=1.01 / 255)
        # it tells speech from silence
        level = energy_confidence(
            torch.from_numpy(speech)[None],
            torch.tensor([len(speech)]),
            FrameGrid.load(tmp_path / "single" / "grid.json"),
            len(single[utt]),
        )[0].numpy()
        assert np.corrcoef(single[utt], level)[0, 1] > 0.4
    # other options are other scores: the set is scored again
    again = score(data, tmp_path / "single", "--scorer", "voicing:Voicing")
    assert any(not np.array_equal(again[utt], single[utt]) for utt in audio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scorer", "engery"], "choose one of espnet, hf, ctm, energy, or"),
        (["--scorer", "no_such_module:X"], "PYTHONPATH"),
        (["--scorer", "voicing:Voicin"], "did you mean 'Voicing'"),
        (["--scorer", "pathlib:Path"], "derive it from"),
        (["--scorer", "voicing:Voicing", *conf(lowst=1)], "did you mean 'lowest'"),
        (["--scorer", "energy", "--measure", "entropy"], "no option 'measure'"),
        (["--scorer", "energy", *conf(range_db=0)], "range_db"),
        (["--scorer", "ctm"], "missing a required argument: 'file'"),
        (["--scorer", "wrong:TooLoud"], "outside [0, 1]"),
        (["--scorer", "wrong:TooLong"], "the scorer's grid"),
    ],
)
def test_mistakes_are_explained(
    options, message, example, data, monkeypatch, tmp_path, capsys
):
    (example / "wrong.py").write_text(
        "from voicing import *\n"
        "class TooLoud(Voicing):\n"
        "    def score(self, *args):\n"
        "        c, n = super().score(*args)\n"
        "        return c + 1, n\n"
        "class TooLong(Voicing):\n"
        "    def score(self, *args):\n"
        "        c, n = super().score(*args)\n"
        "        return c, n + 2\n"
    )
    monkeypatch.syspath_prepend(example)
    with pytest.raises(SystemExit) as error:
        score(data, tmp_path, *options)
    assert error.value.code == 1 and message in capsys.readouterr().err
    assert not (tmp_path / "confidence.scp").exists()


# --- Energy ---------------------------------------------------------------------


def test_stored_energy_is_that_of_the_frames(data, audio, tmp_path):
    options = ["--scorer", "energy", "--batch_seconds", 60]
    stored = score(data, tmp_path, *options)
    grid = FrameGrid.load(tmp_path / "grid.json")
    assert grid == FrameGrid(fs=16000, offset=480.0, stride=640)
    for utt, speech in audio.items():
        speech, lengths = torch.from_numpy(speech)[None], torch.tensor([len(speech)])
        level = energy_confidence(speech, lengths, grid, grid.num_frames(int(lengths)))
        read = torch.from_numpy(stored[utt])
        torch.testing.assert_close(read, level[0], atol=0.51 / 255, rtol=0)
        assert level.std() > 0.1


# --- CTM ------------------------------------------------------------------------

WORDS = ";; a comment\nb 1 0.10 0.05 one 0.5\nb 1 0.02 0.03 zero 1\nx A 0 1 y 0.9\n"


def test_ctm_covers_the_frames_whose_centres_are_in_a_word(tmp_path, caplog):
    path = tmp_path / "a.ctm"
    path.write_text(WORDS)
    assert [word.word for word in read_ctm(path)["b"]] == ["zero", "one"]
    scorer = CTMScorer(str(path), gap=0.2)
    scorer.prepare(["b", "c"])
    assert "1 of 2 utterances (c)" in caplog.text and "(x)" in caplog.text
    confidence, lengths = scorer.score(
        torch.zeros(2, 3200), torch.tensor([2000, 3200]), ["b", "c"]
    )
    assert lengths.tolist() == [12, 20]
    # centres at 5, 15, ... ms
    want = [0.2] * 2 + [1.0] * 3 + [0.2] * 5 + [0.5] * 2
    assert confidence[0, :12].tolist() == pytest.approx(want)
    assert confidence[1].tolist() == pytest.approx([0.2] * 20)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b 1 0 1 word", "a.ctm:2: no confidence"),
        ("b 1 0 word", "a.ctm:2: expected"),
        ("b 1 0 1 word 1.5", "a.ctm:2: confidence 1.5 is not within"),
        ("b 1 zero 1 word 1", "a.ctm:2: could not convert"),
        ("b 1 0 -1 word 1", "a.ctm:2: start 0.0 and duration -1.0"),
        ("b 1 nan 1 word 1", "a.ctm:2: start nan"),
    ],
)
def test_ctm_errors_name_the_line(line, message, tmp_path):
    path = tmp_path / "a.ctm"
    path.write_text(f"b 1 0 1 good 1\n{line}\n")
    with pytest.raises(DataError, match=re.escape(message)):
        read_ctm(path)


def test_ctm_that_does_not_belong_is_refused(tmp_path, audio):
    from espnet_a2m.confidence.online import OnlineScorer

    path = tmp_path / "a.ctm"
    path.write_text(WORDS)
    scorer = CTMScorer(str(path))
    with pytest.raises(UserError, match="not the recording"):
        scorer.prepare(list(audio))
    with pytest.raises(UserError, match="uncropped utterances only"):
        OnlineScorer(scorer="ctm", file=str(path))


# --- Hugging Face ---------------------------------------------------------------


def write_model(folder: Path, feat_extract_norm: str) -> Path:
    """`small_wav2vec2` with its feature extractor."""
    transformers = pytest.importorskip("transformers")
    model = small_wav2vec2(feat_extract_norm)
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_hugging_face_scores_are_those_of_its_own_forward(norm, data, audio, tmp_path):
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    from espnet_a2m.confidence.online import OnlineScorer

    folder = write_model(tmp_path / "model", norm)
    options = ["--scorer", "hf", *conf(model=folder), "--blank", "exclude"]
    scored = score(data, tmp_path / "out", *options, "--batch_seconds", 60)
    model = AutoModelForCTC.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    # frame i of the convolutions sees samples 320 i to 320 i + 399
    grid = FrameGrid.load(tmp_path / "out" / "grid.json")
    assert grid == FrameGrid(fs=16000, offset=199.5, stride=320)
    online = OnlineScorer(scorer="hf", model=str(folder), blank="exclude")
    for utt, speech in audio.items():
        inputs = extractor(speech, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            posteriors = model(inputs.input_values).logits[0].softmax(-1)
        want = np.delete(posteriors.numpy(), 3, axis=1).max(1)
        assert len(scored[utt]) == len(want) == (len(speech) - 400) // 320 + 1
        np.testing.assert_allclose(scored[utt], want, atol=0.51 / 255)
        noise = torch.cat([torch.from_numpy(speech), torch.randn(999)])
        batch = torch.stack([noise, noise])
        asked, frames, s_u = online(batch, torch.tensor([len(speech), 399]))
        with_blank = float(posteriors.amax(-1).mean())
        assert s_u.tolist() == pytest.approx([with_blank, 0], abs=1e-4)
        assert frames.tolist() == [len(want), 0] and not asked[1].any()
        np.testing.assert_allclose(asked[0, : len(want)], want, atol=0.51 / 255)
    assert np.std(np.concatenate(list(scored.values()))) > 0.02


def test_hugging_face_models_that_do_not_fit_are_refused(tmp_path):
    import transformers

    from espnet_a2m.confidence.huggingface import HuggingFaceScorer

    folder = write_model(tmp_path / "model", "group")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="preprocessor_config.json"):
        HuggingFaceScorer(str(folder))
    with pytest.raises(UserError, match="no such folder"):
        HuggingFaceScorer(str(tmp_path / "absent"))
    transformers.Wav2Vec2BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="wav2vec2-bert"):
        HuggingFaceScorer(str(tmp_path / "bert"))
    # pre-trained only: there is no CTC layer in it
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    with pytest.raises(UserError, match="lm_head"):
        HuggingFaceScorer(str(folder))


def test_help_is_quick_and_names_all_scorers():
    command = [sys.executable, "-X", "importtime", "-m", "espnet_a2m.bin.score"]
    shown = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "hf, ctm, energy, or package.module:Class" in " ".join(shown.stdout.split())
    assert "| torch\n" not in shown.stderr
