"""Every encoder, input layer and front end of the README's table takes a step."""

from __future__ import annotations

import pytest
import soundfile
import torch

pytestmark = pytest.mark.espnet

WIDTH = 32
SINC_WIDTH = 128  # ESPnet's sinc filters come in groups of 128
ENCODERS = {
    "transformer": {},
    "conformer": {"rel_pos_type": "latest"},
    "branchformer": {},
    "e_branchformer": {"rel_pos_type": "latest"},
}
INPUT_LAYERS = ["linear", "conv2d", "conv2d6", "conv2d8", None]
SINC = {"preencoder": "sinc", "preencoder_conf": {"out_channels": SINC_WIDTH}}
FRONTENDS = {
    "default": {},
    "wav2vec_cnn": {
        "frontend_conf": {
            "norm_mode": "layer_norm",
            "conv_mode": "standard",
            "bias": False,
            "shapes": [[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2],
        }
    },
    "sliding_window": SINC,
}


def arguments(encoder: str, input_layer: str | None, frontend: str):
    """Options of a tiny w2v-BERT of these parts."""
    from espnet_a2m.training.task import A2MTask

    args = A2MTask.get_parser().parse_args(["--output_dir", "unused"])
    args.encoder = encoder
    args.encoder_conf = {
        "output_size": SINC_WIDTH if frontend == "sliding_window" else WIDTH,
        "attention_heads": 2,
        "num_blocks": 2,
        "input_layer": input_layer,
        **ENCODERS[encoder],
    }
    args.frontend, args.normalize = frontend, None
    if input_layer is None and frontend != "sliding_window":
        args.preencoder, args.preencoder_conf = "linear", {"output_size": WIDTH}
    for name, value in FRONTENDS[frontend].items():
        setattr(args, name, value)
    args.confidence_grid = {"fs": 16000, "offset": 480.0, "stride": 640}
    args.loss = [
        {"name": "contrastive", "conf": {"layer": 1, "num_negatives": 10}},
        {"name": "masked_prediction", "conf": {"layer": 2}},
    ]
    return args


@pytest.fixture(scope="module")
def batch(short_utterances) -> dict[str, torch.Tensor]:
    audio = [soundfile.read(p, dtype="float32")[0] for _, p, _ in short_utterances[4:6]]
    frames = [len(x) // 640 for x in audio]
    confidence = torch.rand(2, max(frames), generator=torch.Generator().manual_seed(0))
    return {
        "speech": torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(x) for x in audio], batch_first=True
        ),
        "speech_lengths": torch.tensor([len(x) for x in audio]),
        "confidence": confidence,
        "confidence_lengths": torch.tensor(frames),
    }


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("input_layer", INPUT_LAYERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_of_real_speech(encoder, input_layer, frontend, batch):
    from espnet_a2m.training.task import A2MTask

    torch.manual_seed(0)
    args = arguments(encoder, input_layer, frontend)
    if input_layer is None and encoder in ("transformer", "branchformer"):
        with pytest.raises(ValueError, match="adds no positions"):
            A2MTask.build_model(args)
        return
    model = A2MTask.build_model(args)
    loss, stats, weight = model(**batch)
    loss.backward()
    assert loss.isfinite()
    # exact coverage of each utterance's own frames, counted as the encoder counts
    model.eval()
    with torch.no_grad():
        lengths = []
        for speech, samples in zip(
            batch["speech"], batch["speech_lengths"], strict=True
        ):
            feats = model.frontend(speech[None, :samples], samples[None])
            inputs = model.encoder_input(*feats)
            lengths.append(int(model.encoder(*inputs)[1]))
    want = sum(int(n * 0.4 + 0.5) for n in lengths)
    assert int(weight) == want
    assert float(stats["masked_fraction"]) == pytest.approx(want / sum(lengths))
    # the confidences are at the encoder's frames: as many, within one
    grid = model.confidence.encoder_grid
    for samples, frames in zip(batch["speech_lengths"], lengths, strict=True):
        assert abs(grid.num_frames(int(samples)) - frames) <= 1
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_sliding_window_needs_sinc():
    from espnet_a2m.training.task import A2MTask

    args = arguments("conformer", "linear", "sliding_window")
    args.preencoder = None
    with pytest.raises(ValueError, match="preencoder: sinc"):
        A2MTask.build_model(args)


def test_normalisation_over_the_batch_is_refused():
    from espnet_a2m.training.task import A2MTask

    args = arguments("conformer", "linear", "wav2vec_cnn")
    args.frontend_conf = {**args.frontend_conf, "normalize_audio": True}
    with pytest.raises(ValueError, match="normalize_audio"):
        A2MTask.build_model(args)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_grids_are_where_the_features_are(frontend):
    """A click moves the features of the frames around it, and of no others."""
    from espnet_a2m.compat.frontend_grid import frontend_grid
    from espnet_a2m.training.task import build_frontend

    torch.manual_seed(0)
    module = build_frontend(arguments("conformer", "linear", frontend)).eval()
    grid = frontend_grid(module)
    speech = torch.randn(1, 16000) * 1e-3
    clicked = speech.clone()
    clicked[0, 7000] = 1.0
    lengths = torch.tensor([16000])
    with torch.no_grad():
        before, count = module(speech, lengths)
        after, _ = module(clicked, lengths)
    change = (after - before).flatten(2).norm(dim=-1)[0]
    touched = change > 1e-3 * change.max()
    centres = grid.offset + grid.stride * torch.arange(len(change))
    middle = centres[touched].mean()
    assert abs(float(middle) - 7000) <= grid.stride / 2
    assert abs(grid.num_frames(16000) - int(count)) <= 1


@pytest.mark.parametrize("n_fft", [512, 400])
@pytest.mark.parametrize("center", [True, False])
def test_log_mel_frames_are_placed_to_the_sample(center, n_fft):
    """An impulse is loudest in a frame where that frame's window is highest."""
    from espnet_a2m.compat.frontend_grid import frontend_grid
    from espnet_a2m.compat.logmel import LogMelFrontend

    frontend = LogMelFrontend(
        n_fft=n_fft, win_length=400, hop_length=160, center=center
    )
    grid = frontend_grid(frontend)
    places = torch.arange(1500, 2100)
    speech = torch.nn.functional.one_hot(places, 16000).float()
    feats, lengths = frontend(speech, torch.full((len(places),), 16000))
    assert set(lengths.tolist()) == {grid.num_frames(16000)} == {feats.size(1)}
    frame = 10
    loudest = int(places[feats[:, frame].exp().sum(-1).argmax()])
    assert loudest == grid.offset + frame * grid.stride
