"""The error rate of a scorer: from its labels to text, and where there is none."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.data.tables import read_scp
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.evaluation.scorer_cer import (
    cer_warnings,
    espnet_text,
    huggingface_text,
    scorer_cer,
)

pytestmark = pytest.mark.espnet


def test_labels_of_an_espnet_model_spell_text(data, confidence, monkeypatch):
    """A model that is certain of the labels of each transcript, with known errors."""
    from espnet_a2m.confidence.espnet import ESPnetScorer

    labels = (data / "tokens.txt").read_text().split("\n")
    texts, heard, frames, wrong = read_scp(data / "text"), [], {}, []

    def listen(self, utt):
        heard.append(utt)
        return np.ones(9, dtype=np.float32)

    def cer_of(change, *noise):
        """Each label twice, then the blank; <sos/eos> is no character."""

        def logits(self, speech, speech_lengths):
            characters = ["<space>" if c == " " else c for c in change(heard[-1])]
            ids = [i for c in characters for i in [labels.index(c)] * 2 + [0]]
            ids += [labels.index("<sos/eos>"), 0, *noise]
            frames[heard[-1]] = len(ids)
            return torch.eye(len(labels))[ids][None], torch.tensor([len(ids)])

        monkeypatch.setattr(ESPnetScorer, "logits", logits)
        heard.clear()
        found = scorer_cer(ScoredDataset.load(data, confidence), 4)
        assert found["utterances"] == len(set(heard)) == 4
        tokens = found["calibration"]
        assert tokens["confidence"] == pytest.approx(0.75)
        wrong.append(tokens["tokens"] * (1 - tokens["right"]))
        assert found["data"] == str(data)
        return found["cer"] / 100 * sum(len(texts[utt]) for utt in heard)

    def stored(self, utt):
        return np.full(frames[utt], 0.75)

    monkeypatch.setattr(ScoredDataset, "speech", listen)
    monkeypatch.setattr(ScoredDataset, "confidence", stored)
    assert cer_of(texts.get) == 0
    # <unk> stands for no character: one error
    assert cer_of(texts.get, labels.index("<unk>")) == pytest.approx(4)
    errors = cer_of(lambda utt: texts[utt].rpartition(" ")[0])
    last_words = (texts[utt].rpartition(" ")[2] for utt in heard)
    assert errors == pytest.approx(sum(len(word) + 1 for word in last_words))
    # tokens that are said are right, but for <unk>
    np.testing.assert_allclose(wrong, [0, 4, 0], atol=1e-9)
    monkeypatch.setattr(ScoredDataset, "confidence", lambda self, utt: np.ones(9))
    with pytest.raises(DataError, match=r"9 confidences of .*, but its scorer has"):
        cer_of(texts.get)


def test_word_pieces_spell_text():
    labels = ["<blank>", "<unk>", "▁", "▁he", "ll", "o", "<sos/eos>"]
    scorer = SimpleNamespace(model=SimpleNamespace(token_list=labels), blank_id=0)
    to_text = espnet_text(scorer, {"token_type": "bpe"})
    assert to_text([3, 3, 0, 4, 5, 0, 0, 3]).strip() == "hello he"
    words = espnet_text(scorer, {"token_type": "word"})
    assert words([4, 4, 0, 4, 5]) == "ll ll o"
    with pytest.raises(UserError, match="its token_type is phn"):
        espnet_text(scorer, {"token_type": "phn"})


def test_labels_of_a_hugging_face_model_spell_text(data, tmp_path):
    """Its tokenizer merges repeated labels and knows the blank and the space."""
    transformers = pytest.importorskip("transformers")
    from espnet_a2m.bin.score import main

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    vocabulary, folder = tmp_path / "vocab.json", tmp_path / "model"
    vocabulary.write_text(json.dumps({name: i for i, name in enumerate(names)}))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    convs = {"conv_dim": [16] * 7, "num_conv_pos_embedding_groups": 4}
    config = transformers.Wav2Vec2Config(
        **sizes, **convs, num_attention_heads=2, vocab_size=len(names), pad_token_id=0
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    with pytest.raises(UserError, match="has no tokenizer"):
        huggingface_text(str(folder))
    transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    text = "ALL OF IT"
    ids = [i for c in text for i in [names.index("|" if c == " " else c)] * 2 + [0]]
    assert huggingface_text(str(folder))(ids) == text

    scores = tmp_path / "scores"
    command = ["--data", str(data), "--output_dir", str(scores), "--scorer", "hf"]
    main([*command, "--scorer_conf", f"model={folder}"])
    found = scorer_cer(ScoredDataset.load(data, scores), 2)
    assert found["utterances"] == 2 and found["cer"] > 50  # of random parameters


def test_what_cannot_be_measured_says_why(data, confidence, tmp_path):
    def reason(data_dir, scores_dir):
        found = scorer_cer(ScoredDataset.load(data_dir, scores_dir), 3)
        assert "cer" not in found and cer_warnings(found) == []
        return found["reason"]

    untold = tmp_path / "untold"
    untold.mkdir()
    (untold / "wav.scp").write_bytes((data / "wav.scp").read_bytes())
    assert reason(untold, confidence) == f"{untold} has no text"
    (untold / "text").write_text("".join(f"{u}\n" for u in read_scp(data / "wav.scp")))
    assert "has no transcript" in reason(untold, confidence)
    metadata = json.loads((confidence / "metadata.json").read_text())
    for name in ("confidence.scp", "utt2conf", "grid.json"):
        (tmp_path / name).write_bytes((confidence / name).read_bytes())
    assert "which names the scorer, cannot be read" in reason(data, tmp_path)
    for change, message in (
        ({"scorer": "energy"}, "--scorer energy writes no text"),
        ({"conf": {"model_file": str(tmp_path / "gone.pth")}}, "gone.pth"),
    ):
        (tmp_path / "metadata.json").write_text(json.dumps({**metadata, **change}))
        assert message in reason(data, tmp_path)
