"""Objectives against what others train with, on the same tensors."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

from espnet_a2m.losses.best_rq import BestRQLoss
from espnet_a2m.losses.contrastive import ContrastiveLoss
from espnet_a2m.losses.feature_penalty import FeaturePenalty
from espnet_a2m.losses.hubert import HuBERTLoss
from espnet_a2m.losses.masked_frames import MaskedFrames
from espnet_a2m.losses.objective import MaskedBatch
from espnet_a2m.losses.quantizer import Codes, GumbelQuantizer
from espnet_a2m.losses.reduction import reduce
from espnet_a2m.masking.guided import GuidedMasking

pytestmark = pytest.mark.espnet

B, T, D = 3, 60, 24
LENGTHS = torch.tensor([60, 45, 31])


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    scale = theirs.detach().abs().max().item()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * scale)


def draw_mask(lengths: torch.Tensor, mask_prob: float, mask_length: int):
    masking = GuidedMasking(1, mask_prob, mask_length, guidance="uniform")
    return masking.draw(lengths, int(lengths.max()), None, torch.tensor(0))


@pytest.fixture
def mask() -> torch.Tensor:
    torch.manual_seed(0)
    return draw_mask(LENGTHS, 0.4, 5)


def masked_batch(mask: torch.Tensor, **parts: torch.Tensor) -> MaskedBatch:
    frames = MaskedFrames.pack(mask, int(mask.sum(1).max()))
    batch = MaskedBatch(frames, LENGTHS, torch.zeros(B, T, 1), LENGTHS)
    for name, part in parts.items():
        setattr(batch, name, part)
    return batch


def test_wav2vec2_equals_transformers(short_utterances):
    """Contrastive and diversity loss of ``Wav2Vec2ForPreTraining`` on real speech."""
    import transformers
    from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_codevectors_per_group=20,
        codevector_dim=16,
        proj_codevector_dim=16,
        num_negatives=30,
        diversity_loss_weight=0.1,
        layerdrop=0.0,
        **{f"{x}_dropout": 0.0 for x in ("hidden", "attention", "activation")},
        **{f"feat_{x}_dropout": 0.0 for x in ("proj", "quantizer")},
    )
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2ForPreTraining(config).train()
    audio = [soundfile.read(p, dtype="float32")[0] for _, p, _ in short_utterances[:3]]
    samples = min(len(x) for x in audio)
    speech = torch.stack([torch.from_numpy(x[:samples]) for x in audio])
    num_frames = int(theirs._get_feat_extract_output_lengths(samples))
    lengths = torch.full((3,), num_frames)
    mask = draw_mask(lengths, 0.49, 10)
    np.random.seed(0)
    negatives = _sample_negative_indices((3, num_frames), 30, mask.numpy())

    kept = {}

    def keep(module, args):
        torch.manual_seed(7)  # of the Gumbel noise
        # a leaf, so that its gradient is the quantiser's alone
        kept["features"] = args[0].detach().requires_grad_()
        return (kept["features"],)

    theirs.quantizer.register_forward_pre_hook(keep)
    theirs.project_hid.register_forward_pre_hook(
        lambda module, args: kept.update(hidden=args[0]) or args[0].retain_grad()
    )
    output = theirs(
        speech,
        mask_time_indices=mask,
        sampled_negative_indices=torch.from_numpy(negatives),
    )
    output.loss.backward()

    quantizer = GumbelQuantizer(
        16, 2, 20, 16, temperature=(2.0, 0.5, 0.999995), input_grad=True
    )
    loss = ContrastiveLoss(32, quantizer, layer=2, num_negatives=30, final_dim=16)
    pairs = [
        (quantizer.logits, theirs.quantizer.weight_proj),
        (loss.project_hidden, theirs.project_hid),
        (loss.project_code, theirs.project_q),
    ]
    for own, other in pairs:
        own.load_state_dict(other.state_dict())
    codevectors = theirs.quantizer.codevectors
    quantizer.codebook.data.copy_(codevectors.data.view(2, 20, 8))

    features = kept["features"].detach().requires_grad_()
    hidden = kept["hidden"].detach().requires_grad_()
    torch.manual_seed(7)
    everywhere = quantizer(features, mask, torch.zeros(()))
    frames = MaskedFrames.pack(mask, int(mask.sum(1).max()))
    codes = Codes(
        vectors=frames.take(everywhere.vectors),
        ids=frames.take(everywhere.ids),
        usage=everywhere.usage,
        prob_perplexity=everywhere.prob_perplexity,
        diversity=everywhere.diversity,
        temperature=everywhere.temperature,
    )
    # their indices count all frames of the batch, ours the utterance's masked ones
    rank = mask.cumsum(1) - 1
    packed = rank.flatten()[torch.from_numpy(negatives)]
    packed = packed.gather(1, frames.index[..., None].expand(-1, -1, 30))
    logits = loss.logits(frames.take(hidden), codes, packed)
    sums = (-logits.log_softmax(-1)[..., 0]).masked_fill(~frames.valid, 0.0).sum(1)
    total = sums.sum() + 0.1 * codes.diversity * mask.sum()
    total.backward()

    assert_same(sums.sum(), output.contrastive_loss)
    assert_same(codes.prob_perplexity, output.codevector_perplexity)
    assert_same(total, output.loss)
    for own, other in pairs:
        assert_same(own.weight.grad, other.weight.grad)
    assert_same(quantizer.codebook.grad.flatten(), codevectors.grad.flatten())
    assert_same(features.grad, kept["features"].grad)
    assert_same(hidden.grad, kept["hidden"].grad)


@pytest.mark.parametrize("collapse", [False, True])
def test_hubert_equals_torchaudio(mask, collapse):
    """torchaudio: cosine with [label, all labels without it] / 0.1, summed."""
    from torchaudio.models.wav2vec2.components import LogitGenerator

    torch.manual_seed(0)
    classes = 4 if collapse else 50
    theirs = LogitGenerator(D, classes, 16, skip_masked=False, skip_nomask=True)
    ours = HuBERTLoss(D, layer=1, num_classes=classes, final_dim=16)
    ours.final_proj.load_state_dict(theirs.final_proj.state_dict())
    ours.label_embeddings.weight.data.copy_(theirs.label_embeddings.data)
    labels = torch.randint(0, classes, (B, T))
    hidden = [torch.randn(B, T, D).requires_grad_()]
    hidden.append(hidden[0].detach().clone().requires_grad_())

    logits, _ = theirs(hidden[0], labels, mask, ~mask)
    want = F.cross_entropy(logits, torch.zeros(len(logits)).long(), reduction="sum")
    want.backward()
    batch = masked_batch(mask, labels=labels)
    term = ours(batch.frames.take(hidden[1]), batch)
    term.sums.sum().backward()
    assert_same(term.sums.sum(), want)
    assert term.counts.tolist() == mask.sum(1).tolist()
    assert_same(hidden[1].grad, hidden[0].grad)
    assert_same(ours.final_proj.weight.grad, theirs.final_proj.weight.grad)
    assert_same(ours.label_embeddings.weight.grad, theirs.label_embeddings.grad)


def test_hubert_equals_espnet(mask):
    """ESPnet: linear classifier, mean over masked frames."""
    from espnet2.ssl.loss.hubert import HuBERTLoss as ESPnetHuBERTLoss

    torch.manual_seed(0)
    theirs = ESPnetHuBERTLoss(D, num_classes=50, final_dim=16, layers=[0])
    ours = HuBERTLoss(D, 1, num_classes=50, final_dim=16, similarity="linear")
    ours.load_state_dict(
        {k.removeprefix("decoder."): v for k, v in theirs.state_dict().items()}
    )
    labels = torch.randint(0, 50, (B, T))
    hidden = [torch.randn(B, T, D).requires_grad_()]
    hidden.append(hidden[0].detach().clone().requires_grad_())
    inside = torch.arange(T) < LENGTHS[:, None]
    info = {"mask_m": mask, "mask_u": inside & ~mask}
    want, stats = theirs([hidden[0]], LENGTHS, labels, LENGTHS, info)
    want.backward()
    batch = masked_batch(mask, labels=labels)
    term = ours(batch.frames.take(hidden[1]), batch)
    got = reduce(term)
    got.backward()
    assert_same(got, want)
    assert float(term.stats["acc"]) == pytest.approx(stats["hubert_acc_m_0"])
    assert_same(hidden[1].grad, hidden[0].grad)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_same(own.grad, other.grad)


def test_best_rq_targets_equal_the_paper(mask):
    """Chiu et al. 2022, section 3.1, in numpy, frame by frame."""
    torch.manual_seed(0)
    convs = [(3, 2, 0), (3, 2, 0)]  # conv2d: 4 log-mel frames a step
    frontend = torch.nn.Identity()
    loss = BestRQLoss(D, frontend, 5, convs, 1, 1.0, 2, 64, 6)
    feats_lengths = (LENGTHS - 1) * 4 + 7
    feats = torch.randn(B, int(feats_lengths.max()), 5) * 3 + 2
    batch = masked_batch(mask, feats=feats, feats_lengths=feats_lengths)
    got = loss.targets(batch)

    projection = loss.quantizer.projection.numpy().astype(np.float64)
    codebook = loss.quantizer.codebook.numpy().astype(np.float64)
    for u in range(B):
        x = feats[u, : feats_lengths[u]].numpy().astype(np.float64)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        for m, t in enumerate(np.flatnonzero(mask[u])):
            # the frame's receptive field is 4 t ... 4 t + 6: the middle four of it
            stacked = x[4 * t + 2 : 4 * t + 6].reshape(-1)
            for g in range(2):
                projected = stacked @ projection[g]
                projected = projected / np.linalg.norm(projected)
                codes = codebook[g] / np.linalg.norm(codebook[g], axis=1)[:, None]
                distance = np.linalg.norm(codes - projected, axis=1)
                assert got[u, m, g] == distance.argmin()

    hidden = torch.randn(B, T, D)
    term = loss(batch.frames.take(hidden), batch)
    logits = loss.classify(hidden[mask]).view(-1, 64)
    ids = got[batch.frames.valid].flatten()
    assert_same(2 * term.sums.sum(), F.cross_entropy(logits, ids, reduction="sum"))


def test_best_rq_codes_never_change():
    loss = BestRQLoss(D, torch.nn.Identity(), 5, [], 1, codebook_size=32)
    assert not any("quantizer" in name for name, _ in loss.named_parameters())
    other = BestRQLoss(D, torch.nn.Identity(), 5, [], 1, codebook_size=32)
    x = torch.randn(1, 500, 5)
    assert not torch.equal(loss.quantizer(x), other.quantizer(x))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss.quantizer(x), other.quantizer(x))


def test_feature_penalty_equals_torchaudio(short_utterances):
    """HuBERTPretrainModel's ``feature_penalty``, on the same waveform and weights."""
    from espnet2.asr.frontend.cnn import CNNFrontend
    from torchaudio.models import hubert_pretrain_model

    shapes = [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2]
    torch.manual_seed(0)
    sizes = dict.fromkeys(inspect.signature(hubert_pretrain_model).parameters, 0)
    sizes |= dict.fromkeys(
        [x for x in sizes if re.search("embed_dim|interm_features|kernel|_dim", x)], 16
    )
    sizes |= dict.fromkeys([x for x in sizes if "groups" in x or "length" in x], 1)
    sizes |= dict(encoder_num_layers=1, encoder_num_heads=2, num_classes=9)
    sizes |= dict(extractor_mode="group_norm", extractor_conv_layer_config=shapes)
    sizes |= dict(mask_prob=0.5, mask_selection="static", feature_grad_mult=None)
    theirs = hubert_pretrain_model(**sizes)
    frontend = CNNFrontend("group_norm", "standard", False, shapes=shapes)
    state = theirs.wav2vec2.feature_extractor.conv_layers.state_dict()
    frontend.layers.load_state_dict(state)
    speech = torch.from_numpy(soundfile.read(short_utterances[0][1], dtype="f")[0])
    lengths = torch.tensor([len(speech)])
    feats, feats_lengths = frontend(speech[None], lengths)
    want = theirs(speech[None], torch.zeros(feats.shape[:2]).long(), lengths)[2]
    batch = MaskedBatch(
        MaskedFrames.pack(torch.zeros(1, 4, dtype=torch.bool), 1),
        feats_lengths,
        feats,
        feats_lengths,
    )
    assert_same(reduce(FeaturePenalty(frontend)(None, batch)), want)
    # and padding does not count
    padded = F.pad(feats, (0, 0, 0, 9), value=5.0)
    batch.feats = padded
    assert_same(reduce(FeaturePenalty(frontend)(None, batch)), want)
