"""BEST-RQ (Chiu et al. 2022): predict the codes of a frozen random projection."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from espnet_a2m.core.frames import FrameGrid, TimeConv
from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.cross_entropy import masked_cross_entropy
from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.quantizer import standardise
from espnet_a2m.losses.reduction import LossTerm


class RandomProjectionQuantizer(torch.nn.Module):
    """``argmin_i || norm(c_i) - norm(A x) ||`` (eq. 1 there); A and c never change.

    Args:
        input_size: Width of x.
        num_codebooks: G, independent projections and codebooks.
        codebook_size: V.
        codebook_dim: Width of the codes.
    """

    def __init__(
        self, input_size: int, num_codebooks: int, codebook_size: int, codebook_dim: int
    ):
        super().__init__()
        projection = torch.empty(num_codebooks, input_size, codebook_dim)
        for matrix in projection:
            torch.nn.init.xavier_uniform_(matrix)
        codebook = torch.randn(num_codebooks, codebook_size, codebook_dim)
        # buffers, so that checkpoints keep the codes
        self.projection: torch.Tensor
        self.codebook: torch.Tensor
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", F.normalize(codebook, dim=-1))

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, M, input_size) -> (B, M, G) code ids."""
        projected = torch.einsum("bmf,gfc->bmgc", x, self.projection)
        # of unit vectors the nearest is the one of the largest product, whatever
        # the length of the projection
        return torch.einsum("bmgc,gvc->bmgv", projected, self.codebook).argmax(-1)


class BestRQLoss(Objective):
    """Predict random-projection codes of the unmasked features.

    The features are those of the front end, standardised per utterance and stacked
    at the encoder's frame rate, so that the targets stay fixed whatever the encoder's
    input layer learns.

    Args:
        input_size: D, width of the encoder's layers.
        frontend: Front end without parameters, such as log-mel.
        feats_size: F, its width.
        input_convs: The encoder's subsampling.
        layer, weight: As of `Objective`.
        num_codebooks: G; the losses of the codebooks are averaged.
        codebook_size: V, 8192 in the paper.
        codebook_dim: 16 in the paper.

    Raises ValueError: the front end is trained, so its features cannot be targets.
    """

    usage: CodeUsage
    name = "best_rq"

    def __init__(
        self,
        input_size: int,
        frontend: torch.nn.Module,
        feats_size: int,
        input_convs: list[TimeConv],
        layer: int,
        weight: float = 1.0,
        num_codebooks: int = 1,
        codebook_size: int = 8192,
        codebook_dim: int = 16,
    ):
        super().__init__(layer, weight)
        if any(p.requires_grad for p in frontend.parameters()):
            raise ValueError(
                f"loss best_rq: {type(frontend).__name__} is trained, so the targets "
                "would change all the time: use a fixed one (frontend: default)"
            )
        grid = FrameGrid.of_convs(1, input_convs)
        self.stack = grid.stride
        self.first = max(0, round(grid.offset - (grid.stride - 1) / 2))
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.quantizer = RandomProjectionQuantizer(
            feats_size * self.stack, num_codebooks, codebook_size, codebook_dim
        )
        self.usage = CodeUsage(num_codebooks, codebook_size)
        self.classify = torch.nn.Linear(input_size, num_codebooks * codebook_size)

    def targets(self, batch: MaskedBatch) -> torch.Tensor:
        """(B, M, G) code ids of the masked frames."""
        feats = standardise(batch.feats.detach().flatten(2), batch.feats_lengths)
        # encoder frame t is centred on the `stack` frames that begin at first + t stack
        begin = self.first + batch.frames.index * self.stack
        offsets = torch.arange(self.stack, device=feats.device)
        index = (begin[..., None] + offsets).clamp(max=feats.size(1) - 1)  # (B, M, r)
        index = index.flatten(1)[..., None].expand(-1, -1, feats.size(-1))
        stacked = feats.gather(1, index).view(*begin.shape, -1)  # (B, M, r F)
        return self.quantizer(stacked)

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """See :meth:`Objective.forward` and :func:`masked_cross_entropy`."""
        assert hidden is not None
        ids = self.targets(batch)
        logits = self.classify(hidden).view(*ids.shape, self.codebook_size)
        term = masked_cross_entropy(logits, ids, batch.frames.valid, self.usage)
        term.sums = term.sums / self.num_codebooks
        return term
