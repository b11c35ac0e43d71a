"""Gumbel product quantiser of wav2vec 2.0 (Baevski et al. 2020, section 3.3)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F


@dataclasses.dataclass
class Codes:
    """Discrete targets of the masked frames.

    Attributes:
        vectors: (B, M, C) chosen codebook entries, groups concatenated.
        ids: (B, M, G) index of the entry chosen in each group.
        code_perplexity: Entries in use, of the choices made, summed over groups.
        prob_perplexity: The same of the mean probabilities, without noise.
        diversity: ``(G V - prob_perplexity) / (G V)``, the loss against collapse.
        temperature: Gumbel temperature that was used.
    """

    vectors: torch.Tensor
    ids: torch.Tensor
    code_perplexity: torch.Tensor
    prob_perplexity: torch.Tensor
    diversity: torch.Tensor
    temperature: torch.Tensor


def perplexity(probs: torch.Tensor) -> torch.Tensor:
    """Sum over groups of ``exp(H(p_g))`` for (G, V) distributions."""
    entropy = -(probs * (probs + 1e-7).log()).sum(-1)  # finite gradient at 0
    return entropy.exp().sum()


def standardise(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of every dimension over each utterance.

    What an input layer gives at first differs little from frame to frame; without
    this most frames would share one code from the start and never leave it.

    Args:
        features: (B, T, D).
        lengths: (B,) numbers of frames; what lies beyond is not looked at.
    """
    frames = torch.arange(features.size(1), device=features.device)
    inside = (frames < lengths[:, None])[..., None]
    count = lengths.clamp(min=1)[:, None, None]
    features = features.float()
    mean = (features * inside).sum(1, keepdim=True) / count
    centred = features - mean
    variance = (centred.square() * inside).sum(1, keepdim=True) / count
    return centred * (variance + 1e-5).rsqrt()


class GumbelQuantizer(torch.nn.Module):
    """Chooses one of ``codebook_size`` vectors in each of ``num_codebooks`` groups.

    Args:
        input_size: D, width of the features.
        num_codebooks: G. w2v-BERT uses 1, wav2vec 2.0 uses 2.
        codebook_size: V. w2v-BERT uses 1024, wav2vec 2.0 uses 320.
        codebook_dim: C, width of the concatenated code vector.
        temperature: First and last Gumbel temperature and the decay per training
            batch.
        diversity_weight: Weight of the diversity loss; 0.1 in the papers.

    Raises:
        ValueError: ``codebook_dim`` is not a multiple of ``num_codebooks``.
    """

    def __init__(
        self,
        input_size: int,
        num_codebooks: int = 1,
        codebook_size: int = 1024,
        codebook_dim: int = 256,
        temperature: tuple[float, float, float] | list[float] = (2.0, 0.5, 0.999995),
        diversity_weight: float = 0.1,
    ):
        super().__init__()
        if codebook_dim % num_codebooks:
            raise ValueError(
                f"quantizer_conf: codebook_dim={codebook_dim} is not a multiple of "
                f"num_codebooks={num_codebooks}"
            )
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.temperature = tuple(temperature)
        self.diversity_weight = diversity_weight
        self.logits = torch.nn.Linear(input_size, num_codebooks * codebook_size)
        torch.nn.init.normal_(self.logits.weight, std=1.0)
        torch.nn.init.zeros_(self.logits.bias)
        self.codebook = torch.nn.Parameter(
            torch.empty(
                num_codebooks, codebook_size, codebook_dim // num_codebooks
            ).uniform_()
        )
        self.num_batches: torch.Tensor
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    def current_temperature(self) -> torch.Tensor:
        """Gumbel temperature after ``num_batches`` batches, on the device."""
        first, last, decay = self.temperature
        return (first * decay ** self.num_batches.float()).clamp(min=last)

    def forward(self, features: torch.Tensor, valid: torch.Tensor) -> Codes:
        """Quantise frames.

        Args:
            features: (B, M, D) standardised (see :func:`standardise`) unmasked
                input of the encoder at the masked frames.
            valid: (B, M) False on padding; only affects the perplexities.
        """
        shape = (*features.shape[:2], self.num_codebooks, self.codebook_size)
        with torch.autocast(features.device.type, enabled=False):
            logits = self.logits(features.float()).view(shape)
            temperature = self.current_temperature()
            if self.training:
                # hard=True: one-hot forward, soft gradient (straight-through)
                tau: Any = temperature  # a tensor, so that the host never waits
                choice = F.gumbel_softmax(logits, tau=tau, hard=True)
            else:
                ids = logits.argmax(-1)
                choice = F.one_hot(ids, self.codebook_size).to(logits)
            ids = choice.argmax(-1)
            vectors = torch.einsum("bmgv,gvc->bmgc", choice, self.codebook).flatten(2)

            total = valid.sum().clamp(min=1)
            keep = valid[..., None, None]
            hard = (choice.detach() * keep).sum((0, 1)) / total
            soft = (logits.softmax(-1) * keep).sum((0, 1)) / total
        entries = self.num_codebooks * self.codebook_size
        prob_perplexity = perplexity(soft)
        return Codes(
            vectors=vectors,
            ids=ids,
            code_perplexity=perplexity(hard),
            prob_perplexity=prob_perplexity.detach(),
            diversity=(entries - prob_perplexity) / entries,
            temperature=temperature,
        )
