"""How frame labels go with what is said: purities and PNMI of HuBERT's paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torchaudio.functional import forced_align, merge_tokens
from tqdm import tqdm

from espnet_a2m.confidence.ctm import Word, read_ctm, word_frames
from espnet_a2m.confidence.espnet import ESPnetScorer
from espnet_a2m.core.errors import DataError, Preview, UserError, warn
from espnet_a2m.core.files import PathLike
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.archives import read_array
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.tables import iter_scp, join_utterances

#: What is said where no word of the alignment is
SILENCE = "<silence>"

#: Utterance -> its words, phones or characters
Alignment = Mapping[str, Sequence[Word]]


def align_characters(data: Path, model_file: str) -> dict[str, list[Word]]:
    """Align the transcripts of a formatted data directory by a character CTC model.

    A character reaches halfway to its neighbours' frames; before the first and after
    the last there is silence.

    Raises UserError: the model has other tokens than characters, or a transcript has
    characters that it does not have or more than fit into its frames.
    """
    scorer = ESPnetScorer(model_file)
    config = dict(scorer.configuration["config"])
    if (kind := config.get("token_type")) != "char":
        raise UserError(f"{model_file}: token_type is {kind}, not char; give a --ctm")
    labels = list(scorer.model.token_list)
    ids = {token: i for i, token in enumerate(labels)}
    grid, aligned, faults = scorer.grid, {}, Preview(10)
    tables = [(data / name, iter_scp(data / name)) for name in ("wav.scp", "text")]
    rows = [*join_utterances(tables, "complete it")]
    for utt, (source, text) in tqdm(rows, desc="alignment", unit=" utterances"):
        characters = ["<space>" if c == " " else c for c in " ".join(text.split())]
        if unknown := {c for c in characters if c not in ids}:
            faults.add(f"{utt} ({' '.join(sorted(unknown))} is no token)")
            continue
        speech = torch.from_numpy(read_audio(utt, source, grid.fs))[None]
        with torch.no_grad():
            logits, _ = scorer.logits(speech, torch.tensor([speech.size(1)]))
        log_probs = logits.log_softmax(-1)
        targets = torch.tensor([[ids[c] for c in characters]])
        try:
            path, scores = forced_align(log_probs, targets, blank=scorer.blank_id)
        except RuntimeError:  # fewer frames than characters and repetitions
            faults.add(f"{utt} ({len(characters)} in {log_probs.size(1)} frames)")
            continue
        spans = merge_tokens(path[0], scores[0].exp(), blank=scorer.blank_id)
        middles = [(a.end + b.start) / 2 for a, b in zip(spans, spans[1:])]
        bounds = np.array([spans[0].start, *middles, spans[-1].end])  # in frames
        seconds = ((bounds - 0.5) * grid.stride + grid.offset) / grid.fs
        aligned[utt] = [
            Word(start, end - start, labels[span.token], min(1.0, span.score))
            for start, end, span in zip(seconds, seconds[1:], spans)
        ]
    if faults.count:
        raise DataError(
            f"{data / 'text'}: {faults.count} of {len(rows)} transcripts cannot be "
            f"aligned by {model_file}: {faults}; remove them or give a --ctm"
        )
    return aligned


def label_pairs(
    labels: Path, alignment: Alignment
) -> Iterator[tuple[list[str], np.ndarray]]:
    """(T,) what is said in the frames of each utterance of a label set, (T,) labels.

    Raises UserError: no utterance of the alignment has labels.
    """
    grid = FrameGrid.load(labels / "grid.json")
    without, total = Preview(), 0
    for utt, source in iter_scp(labels / "labels.scp"):
        total += 1
        if utt not in alignment:
            without.add(utt)
            continue
        classes = read_array(source)
        said = np.full(len(classes), SILENCE, dtype=object)
        for word, frames in word_frames(alignment[utt], grid, len(classes)):
            said[frames] = word.word
        yield said.tolist(), classes
    if without.count == total:
        raise UserError(
            f"{labels / 'labels.scp'}: the alignment has none of its utterances, but "
            f"such as {next(iter(alignment))}"
        )
    if without.count:
        warn(f"{without.count} of {total} utterances are not aligned: {without}")


def purity(said: Sequence[str], labels: np.ndarray) -> dict[str, float]:
    """Measures of HuBERT's paper (arXiv 2106.07447, sec. IV) of (T,) frames.

    With p(y, z) the share of frames of reference class y and label z:
    ``reference_purity`` (phone purity) sum_z max_y p(y, z), ``cluster_purity``
    sum_y max_z p(y, z), and ``pnmi`` I(y; z) / H(y).
    """
    table = contingency_matrix(said, labels)
    entropy = scipy.stats.entropy(table.sum(1))
    information = mutual_info_score(None, None, contingency=table)
    return {
        "reference_purity": float(table.max(0).sum() / table.sum()),
        "cluster_purity": float(table.max(1).sum() / table.sum()),
        "pnmi": float(information / entropy) if entropy else 0.0,
    }


def label_purity(labels: PathLike, alignment: Alignment) -> dict[str, Any]:
    """`purity` of a label set against an alignment, over all frames.

    ``shuffled`` has the same of the labels in random order: few frames in many classes
    agree by chance.
    """
    pairs = [*label_pairs(Path(labels), alignment)]
    said = [name for names, _ in pairs for name in names]
    classes = np.concatenate([of_utt for _, of_utt in pairs])
    shuffled = np.random.default_rng(0).permutation(classes)
    return {
        "utterances": len(pairs),
        "frames": len(classes),
        "silence": said.count(SILENCE) / len(said),
        "reference_classes": len(set(said)),
        "labels_in_use": len(set(classes.tolist())),
        **purity(said, classes),
        "shuffled": purity(said, shuffled),
    }


def read_alignment(
    data: str | None, ctm: str | None, asr_model_file: str | None
) -> Alignment:
    """The alignment in a CTM, whose confidences may be missing, or by a CTC model.

    Raises UserError: what it is made from is not given.
    """
    if ctm is not None:
        return read_ctm(ctm, is_alignment=True)
    if data is None or asr_model_file is None:
        raise UserError("give --ctm, or --data and --asr_model_file")
    return align_characters(Path(data), asr_model_file)
