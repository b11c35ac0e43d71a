"""Spans against exact enumeration of eq. 3 and the field's own drawing."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare, rankdata

from espnet_a2m.masking.guided import SPAN_EDGES, GuidedMasking
from espnet_a2m.masking.sampling import num_frames_to_mask
from espnet_a2m.masking.start_confidence import SPAN_CONFIDENCE

pytestmark = pytest.mark.unit

NOW = torch.tensor(0)
SCORES = [0.9, 0.1, 0.5, 0.3, 0.8, 0.2]
#: Eq. 3 as the paper writes it
LITERAL = {"span_confidence": "first", "rank_confidence": False}
INSIDE = {"span_edges": "inside", **LITERAL}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sequential(
    weights, span, frames, target=None, count=None, taken=frozenset(), edges="inside"
):
    """Exact distribution of masks when starts are drawn one after the other.

    Draw a start among those not yet drawn with probability w_t / sum of theirs, and
    mask the ``span`` frames from there, until ``target`` frames are masked or
    ``count`` starts drawn. The last span is cut: inside to its first frames, with
    overhang to a piece at a place that is drawn. ``weights`` are those of the possible
    starts.
    """
    overhang = edges == "overhang"
    distribution: dict[frozenset, float] = {}

    def draw(drawn, masked, probability):
        if len(masked) == target or len(drawn) == count:
            distribution[masked] = distribution.get(masked, 0.0) + probability
            return
        left = [t for t in range(len(weights)) if t not in drawn]
        total = sum(weights[t] for t in left)
        for t in left:
            start = t - (span - 1) * overhang
            window = range(max(start, 0), min(start + span, frames))
            new = [frame for frame in window if frame not in masked]
            room = len(new) if target is None else target - len(masked)
            cuts = range(max(len(new) - room, 0) + 1) if overhang else (0,)
            for cut in cuts:
                now = masked | set(new[cut : cut + room])
                p = probability * weights[t] / total / len(cuts)
                draw(drawn | {t}, now, p)

    draw(frozenset(), frozenset(taken), 1.0)
    return distribution


def weights_of(scores, span, edges):
    """Weights of the possible starts, by their own or their first frame inside."""
    if edges == "overhang":
        return [*scores[:1] * (span - 1), *scores]
    return scores[: len(scores) - span + 1]


def codes_of(mask):
    """A number for each row of a boolean (N, T)."""
    return (mask.long() << torch.arange(mask.size(1))).sum(1).numpy()


def assert_drawn_from(mask, exact):
    """Chi-square of the rows of ``mask`` against ``exact``, a mask's probability."""
    probability = np.zeros(2 ** mask.size(1))
    for frames, p in exact.items():
        probability[sum(2**frame for frame in frames)] = p
    assert probability.sum() == pytest.approx(1.0)
    seen = np.bincount(codes_of(mask), minlength=len(probability))
    assert not seen[probability == 0].any()
    expected = probability * len(mask)
    rare = expected < 5
    seen = np.append(seen[~rare], seen[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    possible = expected > 0
    assert chisquare(seen[possible], expected[possible]).pvalue > 1e-3


def draw_many(scores, draws=60_000, seed=1, **conf):
    """``draws`` masks of one utterance with ``scores``."""
    torch.manual_seed(seed)
    frames = len(scores)
    return GuidedMasking(4, **conf).draw(
        torch.full((draws,), frames),
        frames,
        torch.tensor(scores).expand(draws, -1),
        NOW,
    )


@pytest.mark.parametrize("edges", SPAN_EDGES)
@pytest.mark.parametrize(
    ("scores", "span", "mask_prob"),
    [
        (SCORES, 2, 0.5),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3, 0.7),  # uniform
        ([0.05, 0.9, 0.9, 0.05, 0.4, 0.6, 0.2], 3, 0.6),
        ([0.9, 0.2, 0.7, 0.4, 0.6], 1, 0.4),  # single frames
    ],
)
def test_starts_follow_eq_3(scores, span, mask_prob, edges):
    frames = len(scores)
    target = int(num_frames_to_mask(torch.tensor(frames), mask_prob))
    weights = weights_of(scores, span, edges)
    exact = sequential(weights, span, frames, target, edges=edges)
    conf = {"mask_prob": mask_prob, "mask_length": span, "span_edges": edges}
    assert_drawn_from(draw_many(scores, **LITERAL, **conf), exact)


@pytest.mark.parametrize(
    ("conf", "weight"),
    [
        ({"guidance": "uniform"}, lambda s: 1.0),
        ({"guidance": "low"}, lambda s: 1 - s),
        ({"power": 2.5}, lambda s: s**2.5),
        ({"power": 0.0}, lambda s: 1.0),
        ({"temperature": 0.3}, lambda s: np.exp(s / 0.3)),
        ({"temperature": 0.2, "power": 2.0}, lambda s: np.exp(s**2 / 0.2)),
        (
            {"temperature": 0.5, "guidance": "low"},
            lambda s: np.exp((1 - s) / 0.5),
        ),
    ],
)
def test_weights_of_the_starts(conf, weight):
    weights = [weight(s) for s in SCORES[:5]]
    mask = draw_many(SCORES, mask_prob=0.5, mask_length=2, **INSIDE, **conf)
    assert_drawn_from(mask, sequential(weights, 2, 6, target=3))


@pytest.mark.parametrize("edges", SPAN_EDGES)
@pytest.mark.parametrize("statistic", ["mean", "max", "first"])
def test_ranks_weigh_the_starts(edges, statistic):
    """Spans of 2 frames; those that overhang hold one."""
    spans = {
        "mean": [0.9, 0.5, 0.3, 0.4, 0.55, 0.5, 0.2],
        "max": [0.9, 0.9, 0.5, 0.5, 0.8, 0.8, 0.2],
        "first": [0.9, 0.9, 0.1, 0.5, 0.3, 0.8, 0.2],
    }[statistic]
    if edges == "inside":
        spans = spans[1:-1]
    weights = (rankdata(spans) - 0.5) / len(spans)
    conf = {"span_edges": edges, "span_confidence": statistic}
    mask = draw_many(SCORES, mask_prob=0.5, mask_length=2, **conf)
    assert_drawn_from(mask, sequential(weights, 2, 6, target=3, edges=edges))


@pytest.mark.parametrize(("edges", "mask_prob"), [("inside", 0.7), ("overhang", 0.6)])
def test_number_of_starts_follows_eq_3(edges, mask_prob):
    """0.7 * 6 frames / 2 = 0.6 * 7 starts / 2 = 2.1: two spans, in a tenth three."""
    conf = {"coverage": "starts", "span_edges": edges, **LITERAL}
    mask = draw_many(SCORES, mask_prob=mask_prob, mask_length=2, **conf)
    exact: dict[frozenset, float] = {}
    for count, share in ((2, 0.9), (3, 0.1)):
        weights = weights_of(SCORES, 2, edges)
        drawn = sequential(weights, 2, 6, count=count, edges=edges)
        for frames, p in drawn.items():
            exact[frames] = exact.get(frames, 0.0) + share * p
    assert_drawn_from(mask, exact)


@pytest.mark.parametrize("edges", SPAN_EDGES)
def test_mixed_continues_with_low(edges):
    exact: dict[frozenset, float] = {}
    weights = weights_of(SCORES, 2, edges)
    low = [1 - w for w in weights]
    for high, p in sequential(weights, 2, 6, target=1, edges=edges).items():
        rest = sequential(low, 2, 6, target=4, taken=high, edges=edges)
        for frames, q in rest.items():
            exact[frames] = exact.get(frames, 0.0) + p * q
    conf = {"mask_prob": 0.6, "mask_length": 2, "guidance": "mixed"}
    conf |= {"span_edges": edges, **LITERAL}
    assert_drawn_from(draw_many(SCORES, high_share=0.25, **conf), exact)
    for share, same in ((0.0, "low"), (1.0, "high")):
        mask = draw_many(SCORES, high_share=share, **conf)
        other = draw_many(SCORES, seed=2, **{**conf, "guidance": same})
        table = [np.bincount(codes_of(m), minlength=64) for m in (mask, other)]
        table = np.stack(table)[:, np.sum(table, axis=0) > 0]
        assert chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize(
    ("frames", "most"),
    [(5, 1.42), (8, 1.42), (10, 1.38), (12, 1.32), (15, 1.24), (20, 1.19), (30, 1.07)]
    + [(60, 1.05), (250, 1.01)],
)
def test_all_positions_are_masked_alike(frames, most):
    """P(mask) of the most and the least masked position, in 200,000 draws or more.

    With spans inside the utterance their quotient is above 8.
    """
    mask = draw_many([0.0] * frames, 20_000, guidance="uniform").float().mean(0)
    assert float(mask.mean()) == pytest.approx(round(0.4 * frames) / frames)
    assert float(mask.max() / mask.min()) < most + 0.06  # the error of 20,000 draws
    if frames <= 12:  # the cut's place is fair as well, from either end
        assert mask.tolist() == pytest.approx(mask.flip(0).tolist(), abs=0.02)
    conf = {"guidance": "uniform", "span_edges": "inside"}
    inside = draw_many([0.0] * frames, 20_000, **conf).float().mean(0)
    assert float(inside.max()) > 8 * float(inside.min())


def baseline(lengths, max_length, mask_prob, mask_length, rng):
    """Uniform spans as the field draws them, utterance by utterance."""
    mask = np.zeros((len(lengths), max_length), dtype=bool)
    for row, length in zip(mask, lengths):
        starts = length - mask_length + 1
        count = min(starts, int(mask_prob * length / mask_length + rng.random()))
        for start in rng.choice(starts, count, replace=False):
            row[start : start + mask_length] = True
    return torch.from_numpy(mask)


def test_uniform_starts_are_the_baseline():
    conf = {"mask_prob": 0.65, "guidance": "uniform", "coverage": "starts"}
    conf["span_edges"] = "inside"
    rng = np.random.default_rng(0)
    ours = draw_many([0.0] * 8, 10_000, mask_length=3, **conf)
    theirs = baseline([8] * 10_000, 8, 0.65, 3, rng)
    table = np.stack([np.bincount(codes_of(m), minlength=256) for m in (ours, theirs)])
    assert chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-3

    lengths = torch.from_numpy(rng.integers(250, 501, 400))
    ours = GuidedMasking(4, **conf).draw(lengths, 500, None, NOW)
    theirs = baseline(lengths.tolist(), 500, 0.65, 10, rng)
    share = [float((m.sum(1) / lengths).mean()) for m in (ours, theirs)]
    assert share[0] == pytest.approx(share[1], abs=0.01)
    assert 0.46 < share[0] < 0.51  # known as 49 %


@pytest.mark.parametrize("edges", SPAN_EDGES)
@pytest.mark.parametrize("rank", [True, False])
@pytest.mark.parametrize("statistic", SPAN_CONFIDENCE)
def test_constant_scores_are_no_guidance(statistic, rank, edges):
    """To the bit, whatever the constant."""
    conf = {"span_confidence": statistic, "rank_confidence": rank, "span_edges": edges}
    lengths = torch.tensor([200, 120, 7])
    masks = []
    for guidance, scores in (
        ("uniform", None),
        ("uniform", torch.rand(3, 200)),
        *(("high", torch.full((3, 200), c)) for c in (1.0, 0.3, 1e-3)),
    ):
        torch.manual_seed(3)
        masking = GuidedMasking(4, guidance=guidance, **conf)
        masks.append(masking.draw(lengths, 200, scores, NOW))
    assert all(torch.equal(mask, masks[0]) for mask in masks)


#: SHA-256 of masks that were drawn before spans could overhang
BEFORE = {
    "uniform": "7daa87d31a7214ec",
    "high": "2cae1bda816fd98f",
    "low": "5ac2e46c12a83747",
    "mixed": "4597265e642de15a",
    "top_k": "d3b7d44a88970252",
}


@pytest.mark.parametrize("guidance", BEFORE)
def test_eq_3_read_literally_draws_as_before(guidance):
    """To the bit, with either coverage and with spans that are always drawn."""
    lengths = torch.tensor([200, 120, 23, 10, 7, 1, 0])
    torch.manual_seed(5)
    scores = torch.rand(7, 200)
    digest = hashlib.sha256()
    for coverage, min_masks in itertools.product(("exact", "starts"), (0, 2)):
        conf = {"coverage": coverage, "min_masks": min_masks, **INSIDE}
        masking = GuidedMasking(4, guidance=guidance, **conf)
        torch.manual_seed(6)
        mask = masking.draw(lengths, 200, scores, NOW)
        digest.update(mask.numpy().tobytes())
    assert digest.hexdigest()[:16] == BEFORE[guidance]
