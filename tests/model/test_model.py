"""Objectives, encoders and front ends in the model itself, on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytestmark = pytest.mark.espnet

CONF = Path(__file__).resolve().parents[2] / "conf" / "tiny"
GRID = {"fs": 16000, "offset": 480.0, "stride": 640}  # of a scorer: log-mel, conv2d
LABEL_GRID = {"fs": 16000, "offset": 0.0, "stride": 160}  # MFCC
SMALL = ["output_size=32", "linear_units=64", "num_blocks=2", "attention_heads=2"]
OBJECTIVES = {
    "wav2vec2": "ssl_wav2vec2_conformer",
    "wav2vec2_cnn": "ssl_wav2vec2_cnn_transformer",
    "hubert": "ssl_hubert_conformer",
    "w2vbert": "ssl_w2vbert_conformer",
    "best_rq": "ssl_bestrq_conformer",
}


def build(
    config: str,
    *options: str,
    loss: list | None = None,
    small: bool = True,
    label_grid: dict | None = LABEL_GRID,
):
    """The model of a tiny configuration with ``option_conf.key=value`` options."""
    from espnet_a2m.training.task import A2MTask

    parser = A2MTask.get_parser()
    command = ["--config", str(CONF / f"{config}.yaml"), "--output_dir", "unused"]
    if small:
        options = (*(f"encoder_conf.{x}" for x in SMALL), *options)
    for option in options:
        name, value = option.split("=", 1)
        if "." in name:
            name, key = name.split(".", 1)
            value = f"{key}={value}"
        command += [f"--{name}", value]
    args = parser.parse_args(command)
    if args.normalize == "global_mvn":
        args.normalize = "utterance_mvn"
    if loss is not None:
        args.loss = loss
    elif small:
        for x in args.loss:
            if x["conf"].get("layer", 0) > 2:
                x["conf"]["layer"] = 2
    if not args.online_scorer_conf:
        args.confidence_grid = dict(GRID)
    args.label_grid = label_grid
    torch.manual_seed(1)
    return A2MTask.build_model(args)


@pytest.fixture(scope="module")
def batch(short_utterances) -> dict:
    """Four utterances with a confidence and a label for every frame."""
    audio = [
        soundfile.read(p, dtype="float32")[0] for _, p, _ in short_utterances[8:12]
    ]
    rng = np.random.default_rng(0)
    lengths = torch.tensor([len(x) for x in audio])
    confidence = [
        torch.from_numpy(rng.random(len(x) // 640, dtype="float32")) for x in audio
    ]
    # labels that can be learnt: of the loudness
    labels = []
    for x in audio:
        level = np.log(np.square(x[: len(x) // 160 * 160]).reshape(-1, 160).mean(1))
        edges = np.quantile(level, np.arange(1, 20) / 20)
        labels.append(torch.from_numpy(np.searchsorted(edges, level)))

    def pad(rows):
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    return {
        "speech": pad([torch.from_numpy(x) for x in audio]),
        "speech_lengths": lengths,
        "confidence": pad(confidence),
        "confidence_lengths": torch.tensor([len(x) for x in confidence]),
        "labels": pad(labels),
        "labels_lengths": torch.tensor([len(x) for x in labels]),
        "utt_id": [u for u, _, _ in short_utterances[8:12]],
    }


# --- Objectives -----------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_batch_of_real_speech_can_be_learnt(objective, batch):
    """Masked accuracy rises far above chance and the majority class."""
    fixed = [
        "encoder_conf.dropout_rate=0.0",
        "encoder_conf.positional_dropout_rate=0.0",
    ]
    model = build(OBJECTIVES[objective], *fixed, "masking_conf.mask_prob=0.3")
    if objective != "wav2vec2_cnn":
        model.encoder.embed.requires_grad_(False)  # as the configuration says
    optimiser = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=3e-3
    )
    history = []
    for _ in range(110):
        loss, stats, _ = model(**batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        history.append({k: float(v) for k, v in stats.items()})
    name = next(k for k in reversed(history[0]) if k.startswith("acc_"))
    first, last = (
        np.mean([x[name] for x in part]) for part in (history[:10], history[-10:])
    )
    assert last > first + 0.15
    if f"majority{name[3:]}" in history[-1]:
        assert last > np.mean([x[f"majority{name[3:]}"] for x in history[-10:]]) + 0.1
    assert np.isfinite([list(x.values()) for x in history]).all()


def test_objectives_compose_on_any_layer(batch):
    """A sum of all of them; the loss is the weighted sum of the reported ones."""
    loss = [
        {"name": "contrastive", "conf": {"layer": 1, "weight": 0.5}},
        {"name": "contrastive", "conf": {"layer": 2, "final_dim": 16}},
        {"name": "masked_prediction", "conf": {"layer": 2, "weight": 2.0}},
        {"name": "hubert", "conf": {"layer": 1, "num_classes": 100}},
        {"name": "best_rq", "conf": {"layer": 2, "codebook_size": 64, "weight": 0.1}},
    ]
    model = build("ssl_w2vbert_conformer", loss=loss)
    total, stats, weight = model(**batch)
    total.backward()
    want = (
        0.5 * stats["loss_contrastive_1"]
        + stats["loss_contrastive_2"]
        + 2 * stats["loss_masked_prediction"]
        + stats["loss_hubert"]
        + 0.1 * stats["loss_best_rq"]
        + 0.1 * stats["loss_diversity"]
    )
    torch.testing.assert_close(total, want)
    assert {"acc_contrastive_1", "acc_contrastive_2", "majority_hubert"} <= set(stats)
    unused = [n for n, p in model.named_parameters() if p.grad is None]
    assert unused == []  # DDP would stop at them


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_parameter_gets_a_gradient(objective, batch):
    model = build(OBJECTIVES[objective])
    model(**batch)[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("config", "name", "conf", "message"),
    [
        ("w2vbert_conformer", "best_rq", {"layer": 3}, "layer=3"),
        ("w2vbert_conformer", "feature_penalty", {}, "nothing to penalise"),
        ("wav2vec2_cnn_transformer", "best_rq", {"layer": 1}, "targets would change"),
    ],
)
def test_objectives_that_cannot_work_are_refused(config, name, conf, message):
    with pytest.raises(ValueError, match=message):
        build(f"ssl_{config}", loss=[{"name": name, "conf": conf}])


def test_an_objective_is_a_class_and_a_line_of_the_registry(
    batch, monkeypatch, tmp_path
):
    """Whoever deals with labels asks it what it needs."""
    from espnet_a2m.core.errors import DataError
    from espnet_a2m.core.frames import FrameGrid
    from espnet_a2m.losses.code_usage import CodeUsage
    from espnet_a2m.losses.cross_entropy import masked_cross_entropy
    from espnet_a2m.losses.objective import Objective
    from espnet_a2m.model.label_input import check_num_classes
    from espnet_a2m.training import task

    class LinearLabels(Objective):
        name = "linear_labels"
        needs_labels = True

        def __init__(self, input_size, layer, num_classes, weight=1.0):
            super().__init__(layer, weight)
            self.num_classes = num_classes
            self.usage = CodeUsage(1, num_classes)
            self.classify = torch.nn.Linear(input_size, num_classes)

        def forward(self, hidden, batch):
            ids = batch.frames.take(batch.labels)[..., None]
            logits = self.classify(hidden)[:, :, None]
            return masked_cross_entropy(logits, ids, batch.frames.valid, self.usage)

    monkeypatch.setitem(task.loss_choices.classes, LinearLabels.name, LinearLabels)
    losses = [{"name": "linear_labels", "conf": {"layer": 2, "num_classes": 20}}]
    model = build("ssl_hubert_conformer", loss=losses)
    loss, stats, _ = model(**batch)
    loss.backward()
    torch.testing.assert_close(loss, stats["loss_linear_labels"])
    gained = np.log(20) - float(loss)  # nothing has been counted yet
    assert stats["nats_gained_linear_labels"] == pytest.approx(gained, abs=1e-5)
    assert [n for n, p in model.named_parameters() if p.grad is None] == []

    assert task.label_classes([*losses, {"name": "best_rq"}]) == {0: 20}
    FrameGrid(**LABEL_GRID).save(tmp_path / "grid.json")
    (tmp_path / "labels.json").write_text('{"num_classes": 30}')
    with pytest.raises(DataError, match="but linear_labels has num_classes: 20"):
        check_num_classes(str(tmp_path / "grid.json"), model.objectives)
    with pytest.raises(ValueError, match="objective linear_labels needs labels"):
        build("ssl_hubert_conformer", loss=losses, label_grid=None)


def test_the_same_objective_twice_on_a_layer_is_refused():
    loss = [{"name": "best_rq", "conf": {"layer": 2}}] * 2
    with pytest.raises(ValueError, match="best_rq_2: given 2 times"):
        build("ssl_w2vbert_conformer", loss=loss)


def test_layers_that_nothing_trains_are_refused(batch):
    """Unless they are meant: then they have no gradient, and all others have one."""
    loss = [{"name": "hubert", "conf": {"layer": 1, "num_classes": 100}}]
    with pytest.raises(ValueError, match="end at layer 1 of the encoder's 2: .*unused"):
        build("ssl_hubert_conformer", loss=loss)
    model = build("ssl_hubert_conformer", "unused_parameters=true", loss=loss)
    model(**batch)[0].backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert {n.split(".")[1] for n in missing} == {"encoders", "after_norm"}
    assert not any(n.startswith("encoder.encoders.0.") for n in missing)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("encoder_conf.interctc_layer_idx=[1]", "CTC belongs to fine-tuning"),
        ("specaug=specaug", "specaug_conf.apply_time_warp moves frames away"),
    ],
)
def test_options_of_fine_tuning_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        build("ssl_w2vbert_conformer", option, "specaug_conf.time_mask_width_range=9")


# --- Augmentation -------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective", ["wav2vec2", "wav2vec2_cnn", "best_rq", "w2vbert"]
)
def test_specaug_changes_the_encoders_input_but_no_target(objective, batch):
    """Not in place either, nor the mask."""
    width = "[5, 6]" if objective == "wav2vec2_cnn" else "[30, 31]"
    fixed = ("dropout_rate", "positional_dropout_rate", "attention_dropout_rate")
    plain = [f"encoder_conf.{name}=0.0" for name in fixed]
    augmented = ["specaug=specaug", "specaug_conf.apply_time_warp=false"]
    augmented += [f"specaug_conf.freq_mask_width_range={width}"]
    augmented += ["specaug_conf.time_mask_width_range=[20, 21]"]

    def step(options, train):
        model = build(OBJECTIVES[objective], *options).train(train)
        seen = {}

        def draw(lengths, num_frames, *_):
            frames = torch.arange(num_frames)
            return (frames % 10 < 4) & (frames < lengths[:, None])

        def see(name, choose):
            return lambda module, args: seen.update({name: choose(args).clone()})

        model.masking.draw = draw
        if model.quantizer is not None:
            model.quantizer.register_forward_pre_hook(see("quantised", lambda x: x[0]))
        model.losses[0].register_forward_pre_hook(see("feats", lambda x: x[1].feats))
        layer = model.encoder.encoders[0]
        layer.register_forward_pre_hook(see("encoder", lambda x: x[0][0]))
        torch.manual_seed(5)
        model(**batch)[0].backward()
        missing = [n for n, p in model.named_parameters() if p.grad is None]
        return seen, missing

    (want, _), (got, missing) = step(plain, True), step(plain + augmented, True)
    assert missing == []
    assert not torch.equal(got.pop("encoder"), want.pop("encoder"))
    assert got.keys() == want.keys() and all(torch.equal(got[k], want[k]) for k in got)
    (want, _), (got, _) = step(plain, False), step(plain + augmented, False)
    assert all(torch.equal(got[k], want[k]) for k in want)  # only in training


# --- Padding ------------------------------------------------------------------------


def step_of(model, batch: dict, rows: list[int]) -> tuple[float, list[torch.Tensor]]:
    """Sums over the masked frames of some utterances: loss and gradients."""
    streams = {k: v[rows] for k, v in batch.items() if isinstance(v, torch.Tensor)}
    if len(rows) < len(batch["speech"]):
        longest = int(streams["speech_lengths"].max())
        streams["speech"] = streams["speech"][:, :longest]
    model.num_batches.zero_()  # on which the Gumbel temperature depends
    loss, _, num_masked = model(**streams)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss * num_masked, parameters, allow_unused=True)
    return float(loss * num_masked), [g for g in gradients if g is not None]


def check_padding(model, batch: dict) -> None:
    """A batch gives the sum of what its utterances give alone, and padding nothing."""
    longer = {**batch, "speech": torch.nn.functional.pad(batch["speech"], (0, 16000))}
    want, got = (step_of(model.train(), x, [0, 1, 2, 3]) for x in (batch, longer))
    assert want[0] == pytest.approx(got[0], rel=1e-5)
    scale = max(g.abs().max() for g in want[1])
    for x, y in zip(want[1], got[1], strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=float(1e-5 * scale))
    # statistics of a batch are no sum: BatchNorm as in evaluation
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    together, *alone = (step_of(model, batch, rows) for rows in ([0, 3], [0], [3]))
    assert together[0] == pytest.approx(sum(x[0] for x in alone), rel=1e-5)
    scale = max(g.abs().max() for g in together[1])
    for got, *parts in zip(together[1], *(x[1] for x in alone), strict=True):
        torch.testing.assert_close(got, sum(parts), rtol=0, atol=float(1e-5 * scale))


@pytest.fixture
def own_randomness(monkeypatch):
    """Masks, distractors and noise of an utterance as if it were alone."""
    from types import SimpleNamespace

    from helpers.distributed_worker import OwnMasks, own_gumbel, own_negatives

    from espnet_a2m.losses import contrastive, quantizer
    from espnet_a2m.training import task

    noise = SimpleNamespace(
        gumbel_softmax=own_gumbel, one_hot=torch.nn.functional.one_hot
    )
    monkeypatch.setattr(quantizer, "F", noise)
    monkeypatch.setattr(contrastive, "sample_negatives", own_negatives)
    monkeypatch.setitem(task.part_choices["masking"].classes, "guided", OwnMasks)


STILL = [
    *("dropout_rate=0.0", "positional_dropout_rate=0.0", "attention_dropout_rate=0.0"),
    "use_flash_attn=false",
]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_padding_changes_neither_loss_nor_gradients(objective, batch, own_randomness):
    options = [f"encoder_conf.{x}" for x in STILL]
    options += ["masking_conf.replacement=learned"]
    if objective.startswith("w"):
        options += ["quantizer_conf.diversity_weight=0.0"]  # no sum either
    model = build(OBJECTIVES[objective], *options)
    model.losses = model.losses[: 2 if objective == "w2vbert" else 1]
    model.loss_names = model.loss_names[: len(model.losses)]
    check_padding(model, batch)


# --- Guidance off is the baseline; ATM+S -----------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_mask_gives_the_same_loss_to_the_last_bit(objective, batch):
    """Guidance only decides where the mask is."""
    results = []
    for guidance in ("high", "uniform"):
        model = build(OBJECTIVES[objective], f"masking_conf.guidance={guidance}")
        streams = dict(batch)
        if guidance == "uniform":  # not even asked for
            model.confidence.scorer_grid = None
            del streams["confidence"]

        def same(lengths, num_frames, *_):
            frames = torch.arange(num_frames)
            return (frames % 10 < 4) & (frames < lengths[:, None])

        model.masking.draw = same
        torch.manual_seed(5)
        loss = model(**streams)[0]
        loss.backward()
        results.append([loss, *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_labels_follow_the_crop_to_the_frame(batch):
    """A frame of a crop has the label of its moment in the complete utterance."""
    model = build("ssl_hubert_conformer")
    complete = model.labels(40, batch)
    for start in (640 * 3, 640 * 7):
        cropped = model.labels(20, {**batch, "speech_start": torch.full((4,), start)})
        assert torch.equal(cropped, complete[:, start // 640 : start // 640 + 20])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"stride": 1280}, "a label every 80 ms is too few .* every 40 ms"),
        ({"fs": 8000}, "8000 Hz audio, but frontend_conf.fs is 16000"),
    ],
)
def test_labels_that_do_not_fit_the_frames_are_refused(grid, message):
    from espnet_a2m.core.frames import FrameGrid
    from espnet_a2m.model.label_input import LabelInput

    encoder_grid = build("ssl_hubert_conformer").confidence.encoder_grid
    with pytest.raises(ValueError, match=message):
        LabelInput(encoder_grid, FrameGrid(**{**LABEL_GRID, **grid}))


def test_a_batch_of_utterances_that_are_too_short_is_named(batch):
    model = build("ssl_hubert_conformer")
    short = {**batch, "speech": batch["speech"][:, :800]}
    short["speech_lengths"] = torch.full((4,), 800)
    with pytest.raises(ValueError, match=f"{batch['utt_id'][0]}.*min_wav_duration"):
        model(**short)


# --- Precision and the device ----------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_are_float32_under_amp(objective, batch):
    model = build(OBJECTIVES[objective])
    seen = []
    for loss in model.losses:
        loss.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model.encoder.encoders[0].register_forward_hook(lambda m, a, o: seen.append(o[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, stats, _ = model(**batch)
    loss.backward()
    hidden = [x for x in seen[1:] if x is not None]
    assert all(x.dtype == torch.float32 for x in hidden)
    assert all(x.dtype == torch.float32 for k, x in stats.items() if "loss" in k)
    assert all(x.isfinite().all() for x in stats.values())


@pytest.mark.parametrize("normalize", ["utterance_mvn", "global_mvn"])
def test_features_are_float32_under_amp(normalize, batch, tmp_path):
    """Half precision would take the power of quiet audio for 0, whose log is -inf."""
    stats = tmp_path / "stats.npz"
    np.savez(stats, count=2, sum=np.full(40, -16.0), sum_square=np.full(40, 160.0))
    model = build("ssl_bestrq_conformer").train()
    if normalize == "global_mvn":
        from espnet2.layers.global_mvn import GlobalMVN

        model.normalize = GlobalMVN(stats)
    quiet, lengths = 0.1 * batch["speech"], batch["speech_lengths"]

    def seen():
        inputs, feats = [], []
        with (
            torch.no_grad(),
            model.encoder.register_forward_pre_hook(lambda m, x: inputs.append(x[0])),
            model.losses[0].register_forward_pre_hook(
                lambda m, x: feats.append(x[1].feats)
            ),
        ):
            model(**{**batch, "speech": quiet})
        return *inputs, *feats

    want = seen()
    with torch.autocast("cpu", dtype=torch.float16):
        half, _ = model.frontend(quiet, lengths)
        got = seen()
    assert not half.isfinite().all()  # what is avoided
    for x, y in zip(got, want, strict=True):
        assert x.isfinite().all() and torch.equal(x, y)


def test_an_online_scorer_is_float32_under_amp(batch):
    model = build("ssl_bestrq_conformer", "online_scorer_conf.scorer=energy")
    seen = []

    def score(speech, lengths, real=model.confidence.scorer.scorer.score):
        seen.append(torch.is_autocast_enabled("cpu"))
        return real(speech, lengths)

    model.confidence.scorer.scorer.score = score
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch)
    assert seen == [False]


def on_a_gpu_that_is_not_there(model: torch.nn.Module) -> None:
    """Make parameters and buffers CUDA tensors without data, in a fake tensor mode."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, x in tensors.items():
                if x is not None:
                    fake = torch.empty(x.shape, dtype=x.dtype, device="cuda")
                    tensors[name] = (
                        torch.nn.Parameter(fake)
                        if isinstance(x, torch.nn.Parameter)
                        else fake
                    )


def fake_step(model: torch.nn.Module, batch: dict) -> torch.Tensor:
    """A step whose tensors have no data: asking for any value raises an error."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        on_a_gpu_that_is_not_there(model)
        streams = {
            name: torch.empty(x.shape, dtype=x.dtype, device="cuda")
            for name, x in batch.items()
            if isinstance(x, torch.Tensor)
        }
        start = torch.empty(len(batch["speech"]), dtype=torch.long, device="cuda")
        return model(**streams, speech_start=start)[0]


@pytest.mark.parametrize(
    "options",
    [
        (),
        (
            "model_conf.utterance_weight=relative",
            "model_conf.utterance_weight_fraction=0.1",
        ),
        ("model_conf.utterance_weight=shuffled",),
        ("online_scorer_conf.scorer=energy",),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_waits_for_the_device(objective, options, batch):
    model = build(OBJECTIVES[objective], *options)
    loss = fake_step(model, batch)
    assert loss.is_cuda and loss.requires_grad


@pytest.mark.parametrize("encoder", ["transformer", "e_branchformer", "branchformer"])
def test_a_wait_for_the_device_would_be_seen(encoder, batch):
    """ESPnet's branchformer asks for the longest length: the check can fail."""
    from torch._subclasses.fake_tensor import DataDependentOutputException

    from espnet_a2m.training.task import part_choices

    model = build(OBJECTIVES["w2vbert"])
    make = part_choices["encoder"].get_class(encoder)
    model.encoder = make(
        model.frontend.output_size(), output_size=32, attention_heads=2, num_blocks=2
    )
    # in training e_branchformer draws a number on the host, which is no wait
    model.encoder.eval()
    if encoder == "branchformer":
        with pytest.raises(DataDependentOutputException):
            fake_step(model, batch)
    else:
        assert fake_step(model, batch).is_cuda
