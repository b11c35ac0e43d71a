"""Contrastive loss of wav2vec 2.0 (eq. 3 there) over a batch's masked frames."""

from __future__ import annotations

import torch

from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.quantizer import Codes, GumbelQuantizer
from espnet_a2m.losses.reduction import LossTerm


def sample_negatives(count: torch.Tensor, max_count: int, num: int) -> torch.Tensor:
    """Draw distractors among the other masked frames of the same utterance.

    Args:
        count: (B,) numbers of masked frames.
        max_count: M, the padded number.
        num: K, distractors per frame, drawn with replacement.

    Returns (B, M, K) indices in ``[0, count)``, never the frame's own unless the
    utterance has no other masked frame.
    """
    others = (count - 1).clamp(min=1)[:, None, None]
    u = torch.rand((count.size(0), max_count, num), device=count.device)
    index = u.mul_(others).long().clamp_(max=others - 1)
    own = torch.arange(max_count, device=count.device)[:, None]
    index += index >= own
    return index.masked_fill_((count <= 1)[:, None, None], 0)


def with_norm(vectors: torch.Tensor, norm: float) -> torch.Tensor:
    """(..., C) ``vectors`` scaled to a length of ``norm``; zero vectors stay."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors * (norm / length.clamp(min=1e-12))


def contrastive_logits(
    predicted: torch.Tensor,
    codes: Codes,
    targets: torch.Tensor,
    negatives: torch.Tensor,
    logit_temp: float,
) -> torch.Tensor:
    """Cosine similarities of predictions with their target and distractors.

    All pairs of masked frames are compared in one product and the 1 + K wanted
    columns gathered, so that no (B, M, K, C) tensor is ever formed.

    Args:
        predicted: (B, M, C) from the context network.
        codes: The codes behind ``targets``.
        targets: (B, M, C) projected code vectors.
        negatives: (B, M, K) indices of the distractors.
        logit_temp: Temperature of the similarities.

    Returns (B, M, 1 + K) logits, the target first; -inf where a distractor has the
    target's code.
    """
    # what is small is scaled: the predictions, not the similarities
    predicted = with_norm(predicted, 1.0 / logit_temp)
    similarity = torch.bmm(predicted, with_norm(targets, 1.0).transpose(1, 2))
    own = torch.arange(negatives.size(1), device=negatives.device)[:, None]
    own = own.expand(len(negatives), -1, 1)
    logits = similarity.gather(2, torch.cat([own, negatives], dim=-1))
    ids = codes.joint_ids
    same = ids.gather(1, negatives.flatten(1)).view_as(negatives) == ids[..., None]
    logits[..., 1:].masked_fill_(same, -torch.inf)
    return logits


class ContrastiveLoss(Objective):
    """Tell the code of a masked frame from those of other masked frames.

    Args:
        input_size: D, width of the encoder's layers.
        quantizer: The quantiser that makes the codes.
        layer, weight: As of `Objective`.
        num_negatives: K, distractors per frame.
        logit_temp: Temperature of the cosine similarities.
        final_dim: Width of the space in which predictions and codes meet.
    """

    name = "contrastive"

    def __init__(
        self,
        input_size: int,
        quantizer: GumbelQuantizer,
        layer: int,
        weight: float = 1.0,
        num_negatives: int = 100,
        logit_temp: float = 0.1,
        final_dim: int = 256,
    ):
        super().__init__(layer, weight)
        self.num_negatives = num_negatives
        self.logit_temp = logit_temp
        self.project_hidden = torch.nn.Linear(input_size, final_dim)
        self.project_code = torch.nn.Linear(quantizer.codebook_dim, final_dim)

    def logits(
        self, hidden: torch.Tensor, codes: Codes, negatives: torch.Tensor
    ) -> torch.Tensor:
        """See :func:`contrastive_logits`; (B, M, 1 + K), the target first."""
        x, y = self.project_hidden(hidden), self.project_code(codes.vectors)
        return contrastive_logits(x, codes, y, negatives, self.logit_temp)

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """Loss of a batch; ``acc`` is the share of targets found, ``chance`` that of a
        blind guess, ``nats_gained`` how much below its loss this one is.
        """
        assert hidden is not None and batch.codes is not None
        valid, count = batch.frames.valid, batch.frames.count
        negatives = sample_negatives(count, valid.size(1), self.num_negatives)
        logits = self.logits(hidden, batch.codes, negatives)
        frame_loss = -logits.log_softmax(-1)[..., 0]
        sums = frame_loss.masked_fill(~valid, 0.0).sum(1)
        blind_nats = logits.detach().isfinite().sum(-1).log().masked_fill(~valid, 0.0)
        total = count.sum().clamp(min=1)
        # right only where there was something to confuse the target with
        best = logits.detach()[..., 1:].amax(-1)
        correct = (logits.detach()[..., 0] > best) & best.isfinite() & valid
        stats = {
            "acc": correct.sum() / total,
            "chance": logits.new_full((), 1 / logits.size(-1)),
            "nats_gained": (blind_nats.sum() - sums.detach().sum()) / total,
        }
        return LossTerm(sums, count, stats)
