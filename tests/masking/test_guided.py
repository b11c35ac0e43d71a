"""Every option of guided masking, on ragged batches and short utterances."""

from __future__ import annotations

import itertools

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from espnet_a2m.confidence.energy import EnergyScorer
from espnet_a2m.confidence.measures import quantise
from espnet_a2m.masking.guidance import GUIDANCE, shuffle_starts
from espnet_a2m.masking.guided import (
    COVERAGE,
    REPLACEMENT,
    SPAN_EDGES,
    GuidedMasking,
)
from espnet_a2m.masking.sampling import num_frames_to_mask
from espnet_a2m.masking.start_confidence import SPAN_CONFIDENCE

pytestmark = pytest.mark.unit

NOW = torch.tensor(0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_guidance_prefers_and_avoids():
    torch.manual_seed(0)
    scores = torch.full((64, 400), 0.1)
    scores[:, 100:200] = 0.9
    lengths = torch.full((64,), 400)
    share = {}
    for guidance in GUIDANCE:
        conf = dict(mask_prob=0.2, guidance=guidance, rank_confidence=False)
        mask = GuidedMasking(4, **conf).draw(lengths, 400, scores, NOW)
        share[guidance] = float(mask[:, 100:200].sum() / mask.sum())
    assert share["top_k"] > 0.9 and share["high"] > 0.6
    assert share["low"] < 0.1
    for neutral in ("uniform", "shuffled", "mixed"):
        assert 0.15 < share[neutral] < 0.5
    # ranks are .375 and .875 in the mean, whatever the two confidences
    mask = GuidedMasking(4, mask_prob=0.2).draw(lengths, 400, scores, NOW)
    assert float(mask[:, 100:200].sum() / mask.sum()) == pytest.approx(0.44, abs=0.04)


def test_top_k_takes_the_most_confident_starts():
    scores = torch.linspace(0.1, 0.9, 20).flip(0)[None].repeat(50, 1)
    scores[:, 15] = 0.95
    conf = dict(span_edges="inside", span_confidence="first")
    masking = GuidedMasking(4, 0.2, 2, guidance="top_k", **conf)
    mask = masking.draw(torch.full((50,), 20), 20, scores, NOW)
    assert mask.nonzero()[:, 1].view(50, 4).tolist() == [[0, 1, 15, 16]] * 50
    ties = masking.draw(torch.full((50,), 20), 20, torch.ones(50, 20), NOW)
    assert len(ties.unique(dim=0)) > 20


def test_shuffled_keeps_each_utterances_scores():
    scores = torch.rand(3, 50)
    lengths = torch.tensor([50, 20, 0])
    other = shuffle_starts(scores, lengths)
    for row, new, length in zip(scores, other, lengths.tolist()):
        assert torch.equal(row[:length].sort().values, new[:length].sort().values)
    assert not torch.equal(other[0], scores[0])


def test_what_the_model_has_to_pass():
    for guidance in GUIDANCE:
        needed = GuidedMasking(4, guidance=guidance).needs_confidence
        assert needed == (guidance != "uniform")
    with pytest.raises(ValueError, match="guidance=high needs"):
        GuidedMasking(4).draw(torch.tensor([5]), 5, None, NOW)


def test_a_function_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_guidance.py").write_text(
        "NUMBER = 3\n"
        "def late(confidence, lengths, options):\n"
        "    return [(confidence.cumsum(1), 1.0)]\n"
        "def never(confidence, lengths, options):\n"
        "    return [((confidence * 0).log(), 1.0)]\n"
        "def mean(confidence, lengths, options):\n"
        "    return [(confidence.mean(1, keepdim=True), 1.0)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    conf = dict(span_edges="inside", rank_confidence=False)
    masking = GuidedMasking(4, 0.2, 3, guidance="own_guidance:late", **conf)
    assert masking.needs_confidence
    mask = masking.draw(torch.tensor([30, 20]), 30, torch.ones(2, 30), NOW)
    assert mask[0].nonzero()[:, 0].tolist() == list(range(24, 30))
    assert mask[1].nonzero()[:, 0].tolist() == list(range(16, 20))
    for edges, coverage in itertools.product(SPAN_EDGES, COVERAGE):
        conf = dict(span_edges=edges, coverage=coverage)
        never = GuidedMasking(4, 0.9, 1, guidance="own_guidance:never", **conf)
        mask = never.draw(torch.tensor([30, 20]), 30, torch.ones(2, 30), NOW)
        assert mask.sum(1).tolist() == [27, 18] and not mask[1, 20:].any()
    for name, message in (
        ("own_guidance:early", "own_guidance has no early"),
        ("own_guidances:late", "PYTHONPATH"),
        ("own_guidance:NUMBER", "no function"),
        ("own_guidance:", "your own as package.module:name"),
    ):
        with pytest.raises(ValueError, match=f"masking_conf: guidance=.*{message}"):
            GuidedMasking(4, guidance=name)
    wrong = GuidedMasking(4, guidance="own_guidance:mean")
    with pytest.raises(ValueError, match=r"shape \(2, 1\) for \(2, 39\) starts"):
        wrong.draw(torch.tensor([30, 20]), 30, torch.ones(2, 30), NOW)


@pytest.mark.parametrize("guidance", GUIDANCE)
@settings(max_examples=60, deadline=None)
@given(
    coverage=st.sampled_from(COVERAGE),
    min_masks=st.sampled_from([0, 0, 2]),
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=6),
    mask_prob=st.floats(0.01, 0.99),
    mask_length=st.integers(1, 25),
    kind=st.sampled_from(["random", "gaps", "zeros", "ones"]),
    sharp=st.booleans(),
    edges=st.sampled_from(SPAN_EDGES),
    statistic=st.sampled_from(SPAN_CONFIDENCE),
    rank=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_row_is_masked_exactly(
    guidance,
    coverage,
    min_masks,
    lengths,
    mask_prob,
    mask_length,
    kind,
    sharp,
    edges,
    statistic,
    rank,
    seed,
):
    torch.manual_seed(seed)
    frames = max(1, *lengths) + seed % 3  # sometimes more padding than needed
    scores = torch.rand(len(lengths), frames)
    if kind == "gaps":
        scores[:, ::2] = 0.0
    elif kind != "random":
        scores.fill_(kind == "ones")
    masking = GuidedMasking(
        4,
        mask_prob,
        mask_length,
        guidance,
        span_edges=edges,
        span_confidence=statistic,
        rank_confidence=rank,
        coverage=coverage,
        min_masks=min_masks,
        power=9.0 if sharp else 1.0,
        temperature=0.01 if sharp else None,
    )
    lens = torch.tensor(lengths)
    mask = masking.draw(lens, frames, scores, NOW)
    assert not mask[torch.arange(frames) >= lens[:, None]].any()
    assert mask.sum(1).max() <= masking.max_count(frames)
    target = num_frames_to_mask(lens, mask_prob)
    if coverage == "exact" and not min_masks:
        assert mask.sum(1).tolist() == target.tolist()
        assert masking.max_count(int(lens.max())) == max(1, int(target.max()))
    elif coverage == "exact":
        assert (mask.sum(1) >= target).all()


@pytest.mark.parametrize("coverage", COVERAGE)
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_min_masks(guidance, coverage):
    """As many spans as asked for, or as the utterance has room for."""
    conf = dict(mask_prob=0.01, guidance=guidance, coverage=coverage)
    lengths = torch.tensor([0, 1, 2, 5, 60])
    single = GuidedMasking(4, mask_length=1, min_masks=3, **conf)
    for _ in range(5):
        mask = single.draw(lengths, 60, torch.rand(5, 60), NOW)
        assert mask.sum(1).tolist() == [0, 1, 2, 3, 3]
    spans = GuidedMasking(4, mask_length=10, min_masks=1, **conf)
    mask = spans.draw(lengths, 60, torch.rand(5, 60), NOW)
    assert mask.sum(1)[1:].amin() >= 1 and (mask.sum(1) <= lengths.clamp(max=10)).all()
    assert spans.max_count(60) >= 10
    inside = GuidedMasking(4, mask_length=10, min_masks=1, span_edges="inside", **conf)
    mask = inside.draw(lengths, 60, torch.rand(5, 60), NOW)
    assert mask.sum(1).tolist() == [0, 1, 2, 5, 10]


def test_number_of_starts():
    """Each utterance has its own, whatever else is in the batch."""
    masking = GuidedMasking(4, 0.4, 1, coverage="starts")
    lengths = torch.tensor([3, 100, 101, 0]).repeat(2000)
    scores = torch.rand(8000, 101)
    count = masking.draw(lengths, 101, scores, NOW).sum(1).view(2000, 4).float()
    assert count.mean(0).tolist() == pytest.approx([1.2, 40, 40.4, 0], abs=0.04)
    assert count.amin(0).tolist() == [1, 40, 40, 0]
    assert count.amax(0).tolist() == [2, 40, 41, 0]


def test_number_of_overhanging_starts():
    """As large a share of each frame's spans in a short as in a long utterance."""
    conf = dict(guidance="uniform", coverage="starts")
    masking = GuidedMasking(4, 0.4, 10, **conf)
    lengths = torch.tensor([1, 5, 100, 0]).repeat(2000)
    mask = masking.draw(lengths, 100, None, NOW).view(2000, 4, 100).float().mean(0)
    assert float(mask[0, 0]) == pytest.approx(0.4, abs=0.04)
    assert mask[1, :5].amin() > 0.3 and mask[2].amax() < 0.4
    assert mask[2].amax() - mask[2].amin() < 0.08
    assert not mask[3].any()


def test_guidance_of_real_speech(short_utterances):
    """Lift: P(mask) of each utterance's most confident quarter over its least.

    The confidences are those of the energy scorer.
    """
    scorer = EnergyScorer()
    rows = [soundfile.read(p, dtype="float32")[0] for _, p, _ in short_utterances[:40]]
    lengths = torch.tensor([len(row) for row in rows])
    speech = [torch.from_numpy(row) for row in rows]
    speech = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True)
    scores, lengths = scorer.score(speech, lengths)
    scores = quantise(scores)
    frames = scores.size(1)
    lift = {}
    for guidance in ("uniform", "shuffled", "high", "low"):
        masking = GuidedMasking(4, guidance=guidance)
        draws = [masking.draw(lengths, frames, scores, NOW) for _ in range(50)]
        masked = torch.stack(draws).float().mean(0)
        quarters = []
        for s_t, p, length in zip(scores, masked, lengths.tolist()):
            p = p[s_t[:length].argsort()]
            quarters.append((p[: length // 4].mean(), p[-(length // 4) :].mean()))
        least, most = torch.tensor(quarters).mean(0).tolist()
        lift[guidance] = most / least
    assert lift["high"] >= 1.5
    assert lift["low"] == pytest.approx(1 / lift["high"], rel=0.25)
    assert lift["uniform"] == pytest.approx(1, abs=0.05)
    assert lift["shuffled"] == pytest.approx(1, abs=0.05)


def test_last_frames_are_masked_too():
    lengths = torch.full((500,), 30)
    for coverage in COVERAGE:
        masking = GuidedMasking(4, coverage=coverage)
        mask = masking.draw(lengths, 30, torch.rand(500, 30), NOW)
        assert mask[:, -1].any() and mask[:, 0].any()


def test_options_change_with_the_updates():
    masking = GuidedMasking(
        8,
        guidance="mixed",
        replacement="noise",
        rank_confidence=False,
        anneal={
            "mask_prob": [0.2, 0.5, 100],
            "high_share": [1.0, 0.0, 100],
            "noise_std": [1.0, 0.0, 10],
        },
    )
    lengths = torch.full((20,), 100)
    scores = (torch.arange(100) < 50).float().expand(20, -1)
    shares = []
    for updates, masked in ((0, 20), (50, 35), (100, 50), (10**6, 50)):
        mask = masking.draw(lengths, 100, scores, torch.tensor(updates))
        assert (mask.sum(1) == masked).all()
        shares.append(float(mask[:, :50].sum() / mask.sum()))
    assert shares[0] > 0.8 and 0.4 < shares[1] < 0.6 and max(shares[2:]) < 0.15
    assert masking.max_count(100) == 50

    features = torch.ones(20, 100, 8)
    for updates, std in ((0, 1.0), (5, 0.5), (10, 0.0)):
        new = masking.replace(features, mask, torch.tensor(updates))
        assert float(new[mask].std()) == pytest.approx(std, abs=0.05)


@pytest.mark.parametrize("replacement", REPLACEMENT)
def test_replacement(replacement):
    masking = GuidedMasking(8, replacement=replacement)
    features = torch.randn(4, 50, 8)
    given = features.clone()
    mask = torch.rand(4, 50) < 0.5
    new = masking.replace(features, mask, NOW)
    assert torch.equal(features, given) and torch.equal(new[~mask], features[~mask])
    names = [name for name, _ in masking.named_parameters()]
    assert names == (["mask_emb"] if replacement == "learned" else [])
    assert list(masking.state_dict()) == names
    if replacement == "learned":
        assert torch.equal(new[mask], masking.mask_emb.expand(mask.sum(), -1))
        new.sum().backward()
        assert torch.equal(masking.mask_emb.grad, mask.sum().float().expand(8))
    elif replacement == "zeros":
        assert not new[mask].any()
    else:
        assert float(new[mask].std()) == pytest.approx(0.1, abs=0.01)


def test_channels():
    masking = GuidedMasking(64, mask_channel_prob=0.25, mask_channel_length=4)
    features = torch.randn(500, 7, 64)
    mask = torch.zeros(500, 7, dtype=torch.bool)
    zero = masking.replace(features, mask, NOW) == 0
    assert torch.equal(zero.all(1), zero.any(1))  # in all frames or in none
    count = zero[:, 0].sum(1)
    # 4 spans of 4 channels, drawn for every utterance; overlaps take some
    assert count.amin() >= 4 and count.amax() == 16
    assert 13 < count.float().mean() < 16
    assert len(zero[:, 0].unique(dim=0)) > 400
    assert torch.equal(masking.eval().replace(features, mask, NOW), features)


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_nothing_waits_for_the_device(guidance):
    """Fake tensors have no values: what asks for one on the host raises."""
    scale = {"mask_prob": [0.1, 0.4, 9], "power": [1, 0, 9], "temperature": [1, 2, 9]}
    with FakeTensorMode(), torch.device("cuda"):
        updates = torch.zeros((), dtype=torch.long)
        lengths = torch.zeros(4, dtype=torch.long)
        score, features = torch.zeros(4, 50), torch.zeros(4, 50, 16)
        for coverage, anneal, edges, statistic in itertools.product(
            COVERAGE, (None, scale), SPAN_EDGES, SPAN_CONFIDENCE
        ):
            conf = dict(coverage=coverage, anneal=anneal, min_masks=2)
            conf |= dict(span_edges=edges, span_confidence=statistic)
            masking = GuidedMasking(16, guidance=guidance, **conf)
            mask = masking.draw(lengths, 50, score, updates)
            assert mask.shape == (4, 50) and mask.device.type == "cuda"
        scale = {"noise_std": [0.1, 0.2, 9], "mask_channel_prob": [0.1, 0.2, 9]}
        for replacement in REPLACEMENT:
            masking = GuidedMasking(16, replacement=replacement, anneal=scale)
            assert masking.replace(features, mask, updates).shape == features.shape


@pytest.mark.parametrize(
    "conf",
    [
        {"mask_prob": 0.0},
        {"mask_length": 0},
        {"guidance": "hihg"},
        {"guidance": "energy"},
        {"coverage": "most"},
        {"span_edges": "outside"},
        {"span_confidence": "median"},
        {"min_masks": -1},
        {"high_share": 1.5},
        {"power": -1.0},
        {"temperature": 0.0},
        {"mask_channel_length": 5, "mask_channel_prob": 0.1},
        {"mask_channel_prob": 1.0},
        {"replacement": "ones"},
        {"noise_std": -0.1},
        {"anneal": {"mask_lenght": [1, 2, 3]}},
    ],
)
def test_bad_options(conf):
    with pytest.raises(ValueError, match=f"masking_conf: {next(iter(conf))}"):
        GuidedMasking(4, **conf)
