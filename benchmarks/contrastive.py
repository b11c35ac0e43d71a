"""Contrastive loss, forward and backward, on the same vectors and codes.

Everybody draws their own negatives, computes logits, cross-entropy and the gradients
with respect to predictions and targets. The networks before (encoder, quantiser,
projections) are left out.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks import peers
from benchmarks.report import Row
from benchmarks.timing import interleave, user_time
from espnet_a2m.losses.contrastive import ContrastiveLoss
from espnet_a2m.losses.masked_frames import MaskedFrames
from espnet_a2m.losses.objective import MaskedBatch
from espnet_a2m.losses.quantizer import Codes, GumbelQuantizer

NUM_NEGATIVES = 100
DIM = 256
NUM_CODEBOOKS, CODEBOOK_SIZE = 2, 320
MASK_PROB = 0.49
SIZES = ((8, 245), (16, 490))
TARGETS = {"fairseq": 30.0, "transformers": 50.0}


@dataclasses.dataclass
class Frames:
    """Vectors of a batch in which every utterance has M masked frames out of T.

    Attributes:
        mask: (B, T) True where masked.
        predicted: (B, T, C) from the context network.
        targets: (B, T, C) code vectors.
        ids: (B, T, G) their codes.
    """

    mask: torch.Tensor
    predicted: torch.Tensor
    targets: torch.Tensor
    ids: torch.Tensor

    @classmethod
    def random(cls, batch: int, masked: int) -> Frames:
        """B utterances of ``masked / MASK_PROB`` frames."""
        total = round(masked / MASK_PROB)
        generator = torch.Generator().manual_seed(1)
        order = torch.rand(batch, total, generator=generator).argsort(1)
        ids = torch.randint(
            CODEBOOK_SIZE, (batch, total, NUM_CODEBOOKS), generator=generator
        )
        size = (NUM_CODEBOOKS, CODEBOOK_SIZE, DIM // NUM_CODEBOOKS)
        codebook = torch.randn(size, generator=generator)
        vectors = [codebook[g][ids[..., g]] for g in range(NUM_CODEBOOKS)]
        return cls(
            mask=order < masked,
            predicted=torch.randn(batch, total, DIM, generator=generator),
            targets=torch.cat(vectors, -1),
            ids=ids,
        )

    def masked(self, sequence: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) -> (B, M, ...), only the masked frames."""
        return sequence[self.mask].view(len(sequence), -1, *sequence.shape[2:])


def ours(frames: Frames) -> Callable[[], torch.Tensor]:
    """This package's objective, on the masked frames."""
    x = frames.masked(frames.predicted).requires_grad_()
    y = frames.masked(frames.targets).requires_grad_()
    quantizer = GumbelQuantizer(DIM, NUM_CODEBOOKS, CODEBOOK_SIZE, DIM)
    objective = ContrastiveLoss(DIM, quantizer, layer=1, num_negatives=NUM_NEGATIVES)
    for projection in ("project_hidden", "project_code"):
        setattr(objective, projection, torch.nn.Identity())
    lengths = torch.full((len(x),), frames.mask.size(1))
    nothing = torch.zeros(())
    codes = Codes(y, frames.masked(frames.ids), *[nothing] * 4)
    packed = MaskedFrames.pack(frames.mask, x.size(1))
    batch = MaskedBatch(packed, lengths, nothing, lengths, codes=codes)

    def run() -> torch.Tensor:
        x.grad = y.grad = None
        term = objective(x, batch)
        loss = term.sums.sum()
        loss.backward()
        return loss.detach()

    return run


def fairseq(frames: Frames) -> Callable[[], torch.Tensor]:
    """fairseq's model methods and its criterion's cross-entropy, on masked frames."""
    model = peers.fairseq(
        "models/wav2vec/wav2vec2.py",
        "sample_negatives",
        "compute_preds",
        "get_logits",
        "get_targets",
        owner="Wav2Vec2Model",
    )
    conf = types.SimpleNamespace(
        n_negatives=NUM_NEGATIVES, cross_sample_negatives=0, logit_temp=0.1
    )
    x = frames.masked(frames.predicted).requires_grad_()
    y = frames.masked(frames.targets).requires_grad_()

    def run() -> torch.Tensor:
        x.grad = y.grad = None
        negatives, _ = model.sample_negatives(conf, y, y.size(1))
        output = {"x": model.compute_preds(conf, x, y, negatives)}
        logits = model.get_logits(conf, output).float()
        target = model.get_targets(conf, None, output)
        loss = F.cross_entropy(logits, target, reduction="sum")
        loss.backward()
        return loss.detach()

    return run


def transformers(frames: Frames) -> Callable[[], torch.Tensor]:
    """``Wav2Vec2ForPreTraining.forward`` around ready-made vectors.

    It compares every frame, masked or not, and leaves the latter out of the sum.
    """
    module = peers.transformers_wav2vec2()
    x = frames.predicted.clone().requires_grad_()
    y = frames.targets.clone().requires_grad_()

    class Trunk(torch.nn.Module):
        def forward(self, *args, **kwargs):
            return types.SimpleNamespace(
                last_hidden_state=x,
                extract_features=y,
                hidden_states=None,
                attentions=None,
            )

    class Quantizer(torch.nn.Module):
        def forward(self, vectors, mask_time_indices):
            return vectors, torch.tensor(float(NUM_CODEBOOKS * CODEBOOK_SIZE))

    class Projection(torch.nn.Identity):
        weight = torch.zeros(())  # whose type is looked at

    config = module.Wav2Vec2Config(
        num_hidden_layers=1,
        num_negatives=NUM_NEGATIVES,
        num_codevectors_per_group=CODEBOOK_SIZE,
        feat_quantizer_dropout=0.0,
    )
    model = module.Wav2Vec2ForPreTraining(config)
    model.wav2vec2, model.quantizer = Trunk(), Quantizer()
    model.project_hid = Projection()
    model.project_q = Projection()
    mask = frames.mask.numpy()

    def run() -> torch.Tensor:
        x.grad = y.grad = None
        negatives = module._sample_negative_indices(mask.shape, NUM_NEGATIVES, mask)
        loss = model(
            None,
            mask_time_indices=frames.mask,
            sampled_negative_indices=torch.from_numpy(negatives),
        ).loss
        loss.backward()
        return loss.detach()

    return run


def fits(batch: int, masked: int) -> bool:
    """Whether there is memory for the peers' largest pass.

    Theirs takes up to ten tensors with K + 1 vectors for every frame.
    """
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return True
    free = re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())
    vectors = (NUM_NEGATIVES + 1) * batch * masked / MASK_PROB
    return free is None or int(free[1]) * 1024 > 10 * vectors * DIM * 4


def candidates(
    batch: int, masked: int
) -> dict[str, Callable[[Frames], Callable[[], torch.Tensor]]]:
    """Implementations that are in this environment and for which memory suffices."""
    makers: dict[str, Callable[[Frames], Callable[[], torch.Tensor]]] = {"ours": ours}
    if not fits(batch, masked):
        print(f"contrastive loss, B {batch} x {masked}: too little memory for peers")
        return makers
    if peers.fairseq_root() is not None:
        makers["fairseq"] = fairseq
    if peers.has_transformers():
        makers["transformers"] = transformers
    return makers


def measure(sizes: Sequence[tuple[int, int]] = SIZES, rounds: int = 3) -> list[Row]:
    """The rows of this group; ``sizes`` are (utterances, masked frames of each)."""
    rows = []
    for batch, masked in sizes:
        frames = Frames.random(batch, masked)
        makers = candidates(batch, masked)
        runs = {name: make(frames) for name, make in makers.items()}
        samples = interleave(runs, rounds, release=True, clock=user_time)
        own = samples.pop("ours")
        rows += [
            Row.compare(
                f"contrastive loss, forward + backward, K = {NUM_NEGATIVES}",
                f"B {batch} x {masked} masked, C {DIM}",
                name,
                own,
                theirs,
                TARGETS[name],
            )
            for name, theirs in samples.items()
        ]
    return rows
