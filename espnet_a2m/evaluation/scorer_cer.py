"""A scorer against a set's transcripts, by greedy CTC: error rate and calibration.

ESPnet's training log says ``cer=nan`` of it: that is of an attention decoder, and
ESPnet's own ``cer_ctc`` needs a package that not every release installs.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import jiwer
import numpy as np
import torch

from espnet_a2m.confidence.ctc import CTCScorer
from espnet_a2m.confidence.registry import build_scorer
from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.data.tables import iter_scp
from espnet_a2m.evaluation.calibration import (
    ToText,
    calibration,
    format_calibration,
    right_tokens,
    spell,
)
from espnet_a2m.evaluation.scored_set import ScoredDataset

#: Character error rate in percent above which a scorer is no good
MAX_CER = 80.0


def espnet_text(scorer: CTCScorer, config: dict[str, Any]) -> ToText:
    """Text from labels of an ESPnet model with this training configuration.

    Raises UserError: its tokens are not known to spell text.
    """
    labels, kind = list(scorer.model.token_list), str(config.get("token_type", "bpe"))
    spaces = {"char": "<space>", "bpe": "▁", "word": " "}
    if kind not in spaces:
        raise UserError(f"its token_type is {kind}, not {', '.join(spaces)}")

    def to_text(best: list[int]) -> str:
        words = [labels[i] for i, _ in groupby(best) if i != scorer.blank_id]
        words = ["\N{REPLACEMENT CHARACTER}" if w == "<unk>" else w for w in words]
        words = [word for word in words if word != "<sos/eos>"]
        joint = " " if kind == "word" else ""
        return joint.join(words).replace(spaces[kind], " ")

    return to_text


def huggingface_text(model: str) -> ToText:
    """Text from labels of a Hugging Face model. Raises UserError: no tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{model} has no tokenizer that can be read ({e})") from e
    return lambda best: str(tokenizer.decode(best))


def build_recogniser(scored: ScoredDataset) -> tuple[CTCScorer, ToText]:
    """The scorer that has scored a set, and how it spells.

    Raises:
        UserError: It is no longer there, is not known, or does not recognise anything.
    """
    path = scored.scores / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        name, conf = metadata["scorer"], metadata["conf"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}, which names the scorer, cannot be read") from None
    if name not in ("espnet", "hf"):
        raise UserError(f"--scorer {name} writes no text")
    scorer = build_scorer(name, conf)
    assert isinstance(scorer, CTCScorer)
    if name == "hf":
        return scorer, huggingface_text(conf["model"])
    return scorer, espnet_text(scorer, dict(scorer.configuration["config"]))


def transcripts(scored: ScoredDataset, most: int) -> dict[str, str]:
    """Transcripts of ``most`` utterances at most. Raises UserError: there is none."""
    path = scored.data / "text"
    if not path.exists():
        raise UserError(f"{scored.data} has no text")
    texts = {u: t for u, t in iter_scp(path, True) if u in scored.audio and t.split()}
    if not texts:
        raise DataError(f"{path} has no transcript of its utterances")
    chosen = np.random.default_rng(0).permutation(sorted(texts))[:most].tolist()
    return {utt: texts[utt] for utt in chosen}


def scorer_cer(scored: ScoredDataset, most: int) -> dict[str, Any]:
    """Recognise ``most`` utterances of a set with the scorer that has scored it.

    They are drawn at random; the set's ``text`` is the reference, and case is ignored.
    It runs on the CPU. Returns ``data``, and either ``cer`` in percent with
    ``utterances``, the number of them, or ``reason`` why there is none; with ``cer``
    also the `calibration` of its tokens' confidences, a token's being the mean of those
    that the set has of its frames; None where it says nothing.

    Raises DataError: the scorer has other frames than the set's confidences.
    """
    data = str(scored.data)
    try:
        texts = transcripts(scored, most)
        scorer, to_text = build_recogniser(scored)
    except UserError as e:
        return {"data": data, "reason": str(e)}
    heard: dict[str, tuple[str, list[slice]]] = {}
    stored = {}
    for utt in texts:
        speech = torch.from_numpy(scored.speech(utt))[None]
        with torch.no_grad():
            logits, lengths = scorer.logits(speech, torch.tensor([speech.size(1)]))
        best = logits[0, : lengths[0]].argmax(-1).tolist()
        heard[utt], stored[utt] = spell(best, to_text), scored.confidence(utt)
        if len(best) != len(stored[utt]):
            raise DataError(
                f"{scored.source[utt]}: {len(stored[utt])} confidences of {utt}, but "
                f"its scorer has {len(best)} frames: score the set again (bin.score)"
            )
    refs = [" ".join(text.lower().split()) for text in texts.values()]
    errors = jiwer.process_characters(refs, [text for text, _ in heard.values()])
    confidence, right = [], []
    for (utt, (_, frames)), alignment in zip(heard.items(), errors.alignments):
        for (begin, end), is_right in right_tokens(frames, alignment).items():
            confidence.append(stored[utt][begin:end].mean())
            right.append(is_right)
    found = calibration(np.array(confidence), np.array(right)) if right else None
    cer = {"utterances": len(refs), "cer": 100 * errors.cer, "calibration": found}
    return {"data": data, **cer}


def format_cer(cer: dict[str, Any]) -> list[str]:
    """The answer of `scorer_cer` as lines to read."""
    if "reason" in cer:
        why = cer["reason"]
        return [f"Scorer's CER on {cer['data']}: not measured, because {why}"]
    return [
        f"Scorer's CER on {cer['data']} (greedy CTC, {cer['utterances']} utterances): "
        f"{cer['cer']:.1f} %",
        *(format_calibration(cer["calibration"]) if cer["calibration"] else ()),
    ]


def cer_warnings(cer: dict[str, Any]) -> list[str]:
    """Whether the scorer is no good, and what to do about it."""
    if cer.get("cer", 0.0) <= MAX_CER:
        return []
    return [
        f"the scorer is no good: its CER is {cer['cer']:.1f} % (above {MAX_CER:g} %): "
        "train it longer (--scorer_args '--max_epoch N') or on more transcripts, or "
        "give a better one by --scorer_exp, --scorer_model or --scorer hf"
    ]
