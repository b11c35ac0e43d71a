"""The character error rate of a scorer: greedy CTC against a set's transcripts.

ESPnet's training log says ``cer=nan`` of it: that is of an attention decoder, and
ESPnet's own ``cer_ctc`` needs a package that not every release installs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

import jiwer
import numpy as np
import torch

from espnet_a2m.confidence.ctc import CTCScorer
from espnet_a2m.confidence.registry import build_scorer
from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.data.tables import iter_scp
from espnet_a2m.evaluation.scored_set import ScoredDataset

#: Character error rate in percent above which a scorer is no good
MAX_CER = 80.0

#: From the best label of each frame to text
ToText = Callable[[list[int]], str]


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
    ``utterances``, the number of them, or ``reason`` why there is none.
    """
    data = str(scored.data)
    try:
        texts = transcripts(scored, most)
        scorer, to_text = build_recogniser(scored)
    except UserError as e:
        return {"data": data, "reason": str(e)}
    heard = []
    for utt in texts:
        speech = torch.from_numpy(scored.speech(utt))[None]
        with torch.no_grad():
            logits, lengths = scorer.logits(speech, torch.tensor([speech.size(1)]))
        heard.append(to_text(logits[0, : lengths[0]].argmax(-1).tolist()))
    refs, hyps = (
        [" ".join(t.lower().split()) for t in side] for side in (texts.values(), heard)
    )
    return {"data": data, "utterances": len(refs), "cer": 100 * jiwer.cer(refs, hyps)}


def format_cer(cer: dict[str, Any]) -> str:
    """The answer of `scorer_cer` as a line to read."""
    if "reason" in cer:
        return f"Scorer's CER on {cer['data']}: not measured, because {cer['reason']}"
    return (
        f"Scorer's CER on {cer['data']} (greedy CTC, {cer['utterances']} utterances): "
        f"{cer['cer']:.1f} %"
    )


def cer_warnings(cer: dict[str, Any]) -> list[str]:
    """Whether the scorer is no good, and what to do about it."""
    if cer.get("cer", 0.0) <= MAX_CER:
        return []
    return [
        f"the scorer is no good: its CER is {cer['cer']:.1f} % (above {MAX_CER:g} %): "
        "train it longer (--scorer_args '--max_epoch N') or on more transcripts, or "
        "give a better one by --scorer_exp, --scorer_model or --scorer hf"
    ]
