"""Gumbel product quantiser of wav2vec 2.0 (Baevski et al. 2020, section 3.3)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F

from espnet_a2m.core.distributed import sum_over_processes
from espnet_a2m.core.frames import padding_mask
from espnet_a2m.losses.code_usage import CodeUsage


@dataclasses.dataclass
class Codes:
    """Discrete targets of the masked frames; perplexities are summed over groups."""

    vectors: torch.Tensor  # (B, M, C) chosen codebook entries, groups concatenated
    ids: torch.Tensor  # (B, M, G) index of the entry chosen in each group
    code_perplexity: torch.Tensor  # of entries chosen in the last 100 batches or so
    prob_perplexity: torch.Tensor  # of the batch's mean probabilities, without noise
    diversity: torch.Tensor  # (G V - prob_perplexity) / (G V), against collapse
    temperature: torch.Tensor  # Gumbel temperature that was used

    @property
    def joint_ids(self) -> torch.Tensor:
        """(B, M) one number for the choices of all groups together."""
        groups = torch.arange(self.ids.size(-1), device=self.ids.device)
        return (self.ids * (self.ids.amax() + 1) ** groups).sum(-1)


def perplexity(probs: torch.Tensor) -> torch.Tensor:
    """Sum over groups of ``exp(H(p_g))`` for (G, V) distributions."""
    entropy = -(probs * (probs + 1e-7).log()).sum(-1)  # finite gradient at 0
    return entropy.exp().sum()


def standardise(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of every dimension over each utterance.

    What an input layer gives at first differs little from frame to frame; without
    this most frames would share one code from the start and never leave it.
    ``features`` is (B, T, D); what lies beyond ``lengths`` (B,) is not looked at.
    """
    inside = ~padding_mask(lengths, features.size(1))[..., None]
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
        temperature: First and last Gumbel temperature and the decay per update.
        diversity_weight: Weight of the diversity loss; 0.1 in the papers.
        standardise_input: Standardise the features over each utterance first (see
            :func:`standardise`). False as published.
        input_grad: Let the losses train the encoder's input layer through the
            quantiser. True as published; without it the input layer learns through
            the encoder only and cannot make codes that are merely easy to tell apart.

    Raises ValueError: ``codebook_dim`` is not a multiple of ``num_codebooks``.
    """

    def __init__(
        self,
        input_size: int,
        num_codebooks: int = 1,
        codebook_size: int = 1024,
        codebook_dim: int = 256,
        temperature: tuple[float, float, float] | list[float] = (2.0, 0.5, 0.999995),
        diversity_weight: float = 0.1,
        standardise_input: bool = True,
        input_grad: bool = False,
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
        self.standardise_input = standardise_input
        self.input_grad = input_grad
        self.usage = CodeUsage(num_codebooks, codebook_size)
        self.logits = torch.nn.Linear(input_size, num_codebooks * codebook_size)
        torch.nn.init.normal_(self.logits.weight, std=1.0)
        torch.nn.init.zeros_(self.logits.bias)
        shape = num_codebooks, codebook_size, codebook_dim // num_codebooks
        self.codebook = torch.nn.Parameter(torch.empty(shape).uniform_())

    def prepare(self, embedded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, D) unmasked input of the encoder -> what is quantised, float32."""
        embedded = embedded.float()
        if not self.input_grad:
            embedded = embedded.detach()
        return standardise(embedded, lengths) if self.standardise_input else embedded

    def temperature_at(self, updates: torch.Tensor) -> torch.Tensor:
        """Gumbel temperature after ``updates`` (0-dim), on the device."""
        first, last, decay = self.temperature
        return (first * decay ** updates.float()).clamp(min=last)

    def forward(
        self, features: torch.Tensor, valid: torch.Tensor, updates: torch.Tensor
    ) -> Codes:
        """Quantise frames.

        Args:
            features: (B, M, D) of :meth:`prepare` at the masked frames.
            valid: (B, M) False on padding; only affects the perplexities.
            updates: 0-dim, number of updates so far.
        """
        groups = self.num_codebooks, self.codebook_size
        logits = self.logits(features).unflatten(-1, groups)
        temperature = self.temperature_at(updates)
        if self.training:
            # hard=True: one-hot forward, soft gradient (straight-through)
            tau: Any = temperature  # a tensor, so that the host never waits
            choice = F.gumbel_softmax(logits, tau=tau, hard=True)
        else:
            choice = F.one_hot(logits.argmax(-1), self.codebook_size).to(logits)
        ids = choice.argmax(-1)
        self.usage.update(ids, valid)
        vectors = torch.einsum("bmgv,gvc->bmgc", choice, self.codebook).flatten(2)

        # of all processes, so that diversity is that of all its frames
        total = sum_over_processes(valid.sum()).clamp(min=1)
        probs = logits.softmax(-1) * valid[..., None, None]
        prob_perplexity = perplexity(sum_over_processes(probs.sum((0, 1))) / total)
        entries = self.num_codebooks * self.codebook_size
        return Codes(
            vectors=vectors,
            ids=ids,
            code_perplexity=self.usage.perplexity,
            prob_perplexity=prob_perplexity.detach(),
            diversity=(entries - prob_perplexity) / entries,
            temperature=temperature,
        )
