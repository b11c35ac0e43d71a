"""Every configuration can be read and built, and pre-training and fine-tuning agree.

Built on fake tensors, which take no memory whatever the size.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from espnet_a2m.compat.init_param import match_keys
from espnet_a2m.core.config import load_config
from espnet_a2m.training.estimate import (
    LIBRISPEECH_SECONDS,
    build,
    in_a_batch,
    load_args,
)
from espnet_a2m.training.monitor import MonitorOptions
from espnet_a2m.training.validate_config import check_config

pytestmark = pytest.mark.espnet

CONF = Path(__file__).resolve().parents[2] / "conf"
#: The paper's vocabulary.
NUM_TOKENS = 1024
#: It reads a checkpoint of the user's.
NEEDS_CHECKPOINT = "tiny/asr_ctc_espnet_ssl.yaml"
CONFIGS = sorted(
    str(path.relative_to(CONF))
    for size in ("tiny", "base", "paper")
    for path in CONF.glob(f"{size}/*.yaml")
)
PRETRAINING = [name for name in CONFIGS if "/ssl_" in name]
#: What a recogniser is fine-tuned from; its own layers are those of the first.
FINE_TUNING = {
    "paper/asr_ctc_l.yaml": "paper/ssl_w2vbert_l.yaml",
    "paper/asr_ctc_attention_l.yaml": "paper/ssl_w2vbert_l.yaml",
    "paper/asr_transducer_l.yaml": "paper/ssl_w2vbert_l.yaml",
    "base/asr_ctc_conformer.yaml": "base/ssl_w2vbert_conformer.yaml",
    "base/asr_ctc_attention_conformer.yaml": "base/ssl_hubert_conformer.yaml",
    "base/asr_transducer_conformer.yaml": "base/ssl_bestrq_conformer.yaml",
    "tiny/asr_ctc_conformer.yaml": "tiny/ssl_w2vbert_conformer.yaml",
    "tiny/asr_ctc_attention_conformer.yaml": "tiny/ssl_hubert_conformer.yaml",
    "tiny/asr_transducer_conformer.yaml": "tiny/ssl_bestrq_conformer.yaml",
    "tiny/asr_ctc_cnn_transformer.yaml": "tiny/ssl_wav2vec2_cnn_transformer.yaml",
}
SHARED = ("frontend", "normalize", "preencoder", "encoder")


def build_config(name: str, **encoder_conf: int | str):
    """The model of a configuration, of fake tensors."""
    args = load_args(CONF / name, NUM_TOKENS)
    args.encoder_conf = {**args.encoder_conf, **encoder_conf}
    with FakeTensorMode(allow_non_fake_inputs=True):
        return build(args)


@pytest.fixture(scope="module")
def models():
    """Name -> model of every configuration that is built from itself alone."""
    return {name: build_config(name) for name in CONFIGS if name != NEEDS_CHECKPOINT}


def size(module) -> int:
    """Numbers in the parameters."""
    return sum(p.numel() for p in module.parameters())


def layer_of(name: str, loss: str) -> int:
    """The encoder layer that a loss of a configuration reads."""
    losses = {x["name"]: x["conf"] for x in load_config(CONF / name)["loss"]}
    return losses[loss]["layer"]


def test_keys_are_known():
    for name in CONFIGS:
        check_config(CONF / name, "ssl" if name in PRETRAINING else "asr")


def test_every_configuration_is_built_and_says_its_size(models):
    for name, model in models.items():
        print(f"{name}: {size(model) / 1e6:.1f} million parameters")
        text = (CONF / name).read_text(encoding="utf-8")
        if not name.startswith("tiny/"):
            assert f"# {size(model) / 1e6:.1f} million parameters.\n" in text, name


def test_published_sizes(models):
    """Beside what the papers print, rounded as they round.

    w2v-BERT (2108.06209) and the conformer XL (2010.10504) of 24 layers, width 1024,
    8 heads, kernel 5: "0.6 billion" or 600 million. The paper's scorer: "100 million".
    Compared are the layers, without input layer, quantiser and losses, which differ.
    The width of the feed-forward networks is derived: 4 x the width, as in the
    conformer paper, is what comes to their size (2 x would be 0.4 billion). For
    Ask2Mask's own w2v-BERT-XL, 8 + 24 layers, we know of no published size.
    One rounded digit is in print; 5 % for the scorer, because a layer is 6 % of it.
    """
    for name in ("paper/ssl_wav2vec2_xl.yaml", "paper/ssl_hubert_xl.yaml"):
        layers = models[name].encoder.encoders
        assert len(layers) == 24
        assert round(size(layers) / 1e9, 1) == 0.6
    assert 95e6 < size(models["paper/asr_ctc_conformer_100m.yaml"]) < 105e6
    # a layer by hand: two feed-forward networks, q k v o, positions, the convolution
    # module's two pointwise layers; norms, biases and the depthwise part are the rest
    d = 1024
    weights = 2 * 2 * 4 * d * d + 4 * d * d + d * d + 3 * d * d
    layer = size(models["paper/ssl_w2vbert_l.yaml"].encoder.encoders[0])
    assert weights < layer < 1.002 * weights
    for name, model in models.items():
        if name.startswith("base/ssl"):
            assert size(model) < 100e6


@pytest.mark.parametrize("size_name, first, second", [("l", 2, 4), ("xl", 8, 24)])
def test_w2vbert_has_the_papers_layers(models, size_name, first, second):
    name = f"paper/ssl_w2vbert_{size_name}.yaml"
    assert layer_of(name, "contrastive") == first
    assert layer_of(name, "masked_prediction") == first + second
    assert len(models[name].encoder.encoders) == first + second


def test_losses_read_layers_that_exist(models):
    for name in PRETRAINING:
        layers = [
            loss["conf"].get("layer") for loss in load_config(CONF / name)["loss"]
        ]
        deepest = max(layer for layer in layers if layer is not None)
        assert deepest == len(models[name].encoder.encoders), name
        assert [x.layer for x in models[name].objectives] == layers


def test_every_recogniser_has_a_configuration_to_start_from():
    alone = {NEEDS_CHECKPOINT, "paper/asr_ctc_conformer_100m.yaml"}
    recognisers = {name for name in CONFIGS if "/asr_" in name}
    assert recognisers == alone | set(FINE_TUNING)
    assert set(FINE_TUNING.values()) <= set(PRETRAINING)


def check_init(pretrained, model) -> None:
    """All parameters of front end and encoder come from the pre-training."""
    state, target = pretrained.state_dict(), model.state_dict()
    matched, unmatched = match_keys("p:encoder:encoder", state, target)
    assert matched and not unmatched
    assert set(matched) == {key for key in state if key.startswith("encoder.")}
    assert not match_keys("p:frontend:frontend", state, target)[1]


@pytest.mark.parametrize("name", FINE_TUNING)
def test_fine_tuning_goes_with_its_pretraining(models, name):
    ours, theirs = load_config(CONF / name), load_config(CONF / FINE_TUNING[name])
    for part in SHARED:
        assert ours.get(part) == theirs.get(part), part
        # dropout has no parameters, and pre-training on little audio needs none
        confs = [
            {
                k: v
                for k, v in (x.get(f"{part}_conf") or {}).items()
                if "dropout" not in k
            }
            for x in (ours, theirs)
        ]
        assert confs[0] == confs[1], part
    check_init(models[FINE_TUNING[name]], models[name])


def test_pretraining_of_one_size_shares_front_end_and_encoder():
    """So that any of them goes with the fine-tuning of that size."""
    for folder in ("base", "paper"):
        configs = [
            load_config(CONF / name) for name in PRETRAINING if name.startswith(folder)
        ]
        for config in configs:
            config["encoder_conf"].pop("num_blocks")
        for part in SHARED:
            for key in (part, f"{part}_conf"):
                assert all(x.get(key) == configs[0].get(key) for x in configs), key


@pytest.mark.parametrize(
    "num_blocks, names",
    [
        (12, ["ssl_wav2vec2_l", "ssl_hubert_l"]),
        (24, ["ssl_wav2vec2_xl", "ssl_hubert_xl"]),
        (32, ["ssl_w2vbert_xl"]),
    ],
)
def test_fine_tuning_after_the_papers_other_models(models, num_blocks, names):
    """The option that the heads of conf/paper/asr_*.yaml name."""
    model = build_config("paper/asr_ctc_l.yaml", num_blocks=num_blocks)
    for name in names:
        check_init(models[f"paper/{name}.yaml"], model)


def test_schedule_is_the_papers():
    for name in PRETRAINING:
        config = load_config(CONF / name)
        if name.startswith("tiny/"):
            continue
        assert (config["optim"], config["scheduler"]) == ("adam", "warmuplr")
        # of base models without w2v-BERT's losses: their sources'
        of_sources = "base/ssl_wav2vec2" in name or "base/ssl_hubert" in name
        assert config["optim_conf"]["lr"] == (5e-4 if of_sources else 2e-3)
        assert config["scheduler_conf"]["warmup_steps"] == 25000
        assert config["collate_fn_conf"]["crop_duration"] == 32.0
        assert config["masking_conf"]["mask_prob"] == 0.4
        assert config["masking_conf"]["mask_length"] == 10
        # of "Attention is all you need", whose schedule it is
        assert config["optim_conf"]["betas"] == [0.9, 0.98]
        assert config["optim_conf"]["eps"] == 1e-9


#: Updates that a comment of a configuration states: hours, speeds, as rounded there.
STATED = {
    "base/asr_ctc_conformer.yaml": {100: 9_600, 960: 92_000},
    "base/asr_ctc_attention_conformer.yaml": {100: 9_600, 960: 92_000},
    "base/asr_transducer_conformer.yaml": {100: 7_200, 960: 69_000},
    "paper/asr_ctc_l.yaml": {100: 9_600, 960: 92_000},
    "paper/asr_ctc_attention_l.yaml": {100: 9_600, 960: 92_000},
    "paper/asr_transducer_l.yaml": {100: 7_200, 960: 69_000},
    "paper/asr_ctc_conformer_100m.yaml": {3 * 100: 18_700},
}


def updates(args, hours: float, seconds: float = LIBRISPEECH_SECONDS) -> float:
    """Updates of a training run, as ESPnet makes batches on 8 GPUs."""
    batch = in_a_batch(args.batch_bins, int(seconds * 16000), ngpu=8)
    per_epoch = args.num_iters_per_epoch or hours * 3600 / seconds / batch
    return per_epoch / args.accum_grad * args.max_epoch


def test_warm_up_ends_before_the_training_run():
    """The rate can come down again, at the hours that each configuration states."""
    recognisers = {name for name in CONFIGS if re.search("(base|paper)/asr_", name)}
    assert set(STATED) == recognisers
    for name, stated in STATED.items():
        args = load_args(CONF / name, NUM_TOKENS)
        for hours, number in stated.items():
            planned = updates(args, hours)
            assert planned == pytest.approx(number, rel=0.01), (name, hours)
            assert planned > 1.2 * args.warmup_steps, (name, hours)
            assert f"{number:,}" in (CONF / name).read_text(encoding="utf-8"), name
    for name in CONFIGS:
        if "tiny/asr_" in name and name != NEEDS_CHECKPOINT:  # 17 minutes, three speeds
            args = load_args(CONF / name, NUM_TOKENS)
            assert updates(args, 3 * 17 / 60, 3.0) > 1.2 * args.warmup_steps, name
    for name in PRETRAINING:
        if not name.startswith("tiny/"):
            args = load_args(CONF / name, NUM_TOKENS)
            assert updates(args, 60_000, 32.0) > 10 * args.warmup_steps


def test_advice_on_training_from_scratch_is_espnets():
    """conformer10's schedule, where it is over by the end."""
    text = (CONF / "base/asr_ctc_conformer.yaml").read_text(encoding="utf-8")
    assert "lr=0.0025" in text and "warmup_steps=40000" in text
    args = load_args(CONF / "base/asr_ctc_conformer.yaml", NUM_TOKENS)
    assert updates(args, 960) > 1.2 * 40_000
    # what the scorer's head says of less than 100 h
    args = load_args(CONF / "paper/asr_ctc_conformer_100m.yaml", NUM_TOKENS)
    assert updates(args, 3 * 81) > args.warmup_steps > updates(args, 3 * 80)
    args.max_epoch = 140
    assert updates(args, 3 * 40.5) > args.warmup_steps


def test_recipes_train_the_papers_scorer_at_three_speeds():
    text = (CONF.parent / "local" / "benchmark.sh").read_text(encoding="utf-8")
    options = text.partition("benchmark_options=(")[2].partition("\n)")[0]
    config = re.search(r'--scorer_config "\$\{A2M_ROOT\}/conf/(\S+)"', options)[1]
    speeds = re.search(r'--speed_perturb_factors "([\d. ]+)"', options)[1].split()
    assert (config, len(speeds)) == ("paper/asr_ctc_conformer_100m.yaml", 3)


@pytest.mark.parametrize("name", PRETRAINING)
def test_batches_fill_the_gpus_that_they_are_sized_for(name):
    """No GPU waits for one that has an utterance more."""
    args = load_args(CONF / name, NUM_TOKENS)
    crop = int(32.0 * 16000)
    if name.startswith("paper/"):
        assert in_a_batch(args.batch_bins, crop, ngpu=32) == 256 == 8 * 32
        assert in_a_batch(args.batch_bins // 2, crop, ngpu=16) == 128
    elif name.startswith("base/"):
        assert in_a_batch(args.batch_bins, crop, ngpu=8) == 88 == 11 * 8


def test_monitor_starts_after_the_warm_up():
    """Else training stops at update 6,000 of 25,000: its 50 windows of 100."""
    for name in PRETRAINING:
        config = load_config(CONF / name)
        monitor = MonitorOptions.from_conf(config.get("monitor_conf", {}))
        last = monitor.start + monitor.max_collapsed * monitor.window
        assert last > config["scheduler_conf"]["warmup_steps"]
        if not name.startswith("tiny/"):
            assert monitor.start > config["scheduler_conf"]["warmup_steps"], name


def test_xl_without_relative_positions(models):
    """The model of arXiv 2010.10504, by the options in the head of the XL's."""
    name = "paper/ssl_wav2vec2_xl.yaml"
    text = (CONF / name).read_text(encoding="utf-8")
    options = dict(re.findall(r"--encoder_conf (\w+)=(\w+)", text))
    pretrained = build_config(name, **options)
    layers = pretrained.encoder.encoders
    assert round(size(layers) / 1e9, 1) == 0.6
    width = 1024  # a projection of positions and two biases less
    less = size(models[name].encoder.encoders) - size(layers)
    assert less == 24 * (width * width + 2 * width)
    check_init(
        pretrained, build_config("paper/asr_ctc_l.yaml", num_blocks=24, **options)
    )


def test_xl_transducer_has_two_layers():
    text = (CONF / "paper/asr_transducer_l.yaml").read_text(encoding="utf-8")
    assert "--decoder_conf num_layers=2" in text
    args = load_args(CONF / "paper/asr_transducer_l.yaml", NUM_TOKENS)
    args.decoder_conf = {**args.decoder_conf, "num_layers": 2}
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert len(build(args).decoder.decoder) == 2
