"""Trains with random numbers that depend on the utterance alone.

Masks, distractors and Gumbel noise are drawn by the real functions, one utterance at a
time from a seed of its own, so that they are the same however utterances are spread
over batches and processes. Each line of the named file is a JSON list of options of
espnet_a2m.bin.ssl_train.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from espnet_a2m.losses import contrastive, quantizer
from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.training import task


class OwnMasks(GuidedMasking):
    """Draws the mask of each utterance as if it were alone."""

    def draw(self, lengths, max_length, confidence, updates):
        rows = []
        for i, length in enumerate(lengths.tolist()):
            torch.manual_seed(length)
            alone = None if confidence is None else confidence[i : i + 1, :length]
            rows.append(super().draw(lengths[i : i + 1], length, alone, updates)[0])
        mask = pad_sequence(rows, batch_first=True)
        return F.pad(mask, (0, max_length - mask.size(1)))


def own_negatives(count, max_count, num):
    rows = []
    for n in count.tolist():
        torch.manual_seed(n)
        row = REAL_NEGATIVES(torch.tensor([n]), n, num)[0]
        rows.append(F.pad(row, (0, 0, 0, max_count - n)))
    return torch.stack(rows)


def own_gumbel(logits, tau, hard):
    noise = torch.zeros_like(logits)
    for i in range(len(logits)):
        torch.manual_seed(7)  # frames in order: the same for any padding
        u = torch.rand((1000, *logits.shape[2:]))[: logits.size(1)]
        noise[i] = -(-u.clamp(min=1e-9).log()).log()
    soft = ((logits + noise) / tau).softmax(-1)
    one_hot = F.one_hot(soft.argmax(-1), logits.size(-1)).to(soft)
    return one_hot - soft.detach() + soft


REAL_NEGATIVES = contrastive.sample_negatives

if __name__ == "__main__":
    task.part_choices["masking"].classes["guided"] = OwnMasks
    contrastive.sample_negatives = own_negatives
    quantizer.F = SimpleNamespace(gumbel_softmax=own_gumbel, one_hot=F.one_hot)
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        task.A2MTask.main(cmd=json.loads(line))
