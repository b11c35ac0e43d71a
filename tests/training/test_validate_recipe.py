"""Configurations that do not fit together are found without data or models."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from espnet_a2m.bin.check_recipe import main

pytestmark = pytest.mark.espnet

CONF = Path(__file__).resolve().parents[2] / "conf"
TINY = CONF / "tiny"
SSL = f"--ssl_config={TINY / 'ssl_w2vbert_conformer.yaml'}"
HUBERT = f"--ssl_config={TINY / 'ssl_hubert_conformer.yaml'}"
ASR = f"--asr_config={TINY / 'asr_ctc_conformer.yaml'}"
CTC = f"--inference_config={CONF / 'decode_ctc.yaml'}"


def check(*options: str) -> None:
    """Run the command as the driver does."""
    main([str(option) for option in options])


@pytest.mark.parametrize("option", [SSL, ASR, ASR.replace("asr", "scorer", 1)])
def test_another_sampling_rate_is_refused(option, capsys):
    check("--fs=16000", option)
    with pytest.raises(SystemExit):
        check("--fs=8000", option)
    shown = capsys.readouterr().err
    assert "frontend_conf.fs is 16000" in shown and "at --fs 8000" in shown


@pytest.mark.parametrize("folder", ["tiny", "base", "paper"])
def test_shipped_configurations_pass(folder, capsys):
    decode = {"ctc": CTC, "attention": "ctc_attention", "transducer": "transducer"}
    for path in sorted((CONF / folder).glob("ssl_*.yaml")):
        labels = ["--label_tag=mfcc"] if "hubert" in path.name else []
        check(f"--ssl_config={path}", *labels)
    for path in sorted((CONF / folder).glob("asr_*.yaml")):
        kind = next(k for k in ("transducer", "attention", "ctc") if k in path.name)
        search = decode[kind]
        if not search.startswith("-"):
            search = f"--inference_config={CONF}/decode_{search}.yaml"
        check(f"--asr_config={path}", search)
    assert "WARNING" not in capsys.readouterr().err


def test_what_fine_tuning_may_change(tmp_path):
    """Dropout, intermediate CTC, other words for the same; and everything else."""
    free = [*("dropout_rate=0.3", "interctc_layer_idx=[2]", "stochastic_depth_rate=.1")]
    free += ["attention_dropout_rate=0.2", "zero_triu=false"]
    words = " ".join(f"--encoder_conf {x}" for x in free)
    words += " --frontend_conf fs=16k --specaug none --max_epoch 3"
    check(SSL, ASR, f"--asr_args={words}", CTC)
    saved = tmp_path / "config.yaml"
    config = yaml.safe_load((TINY / "ssl_w2vbert_conformer.yaml").read_text())
    config["normalize_conf"] = {"stats_file": "exp/ssl_atm/feats_stats.npz"}
    saved.write_text(yaml.safe_dump({**config, "version": "202511"}))
    check(f"--pretrained={saved}", ASR)
    # the losses end at layer 4
    six = "--ssl_args=--encoder_conf num_blocks=6 --unused_parameters true"
    check(SSL, six, ASR, "--asr_args=--encoder_conf num_blocks=6")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # encoders and front ends that do not match
        (
            [SSL, "--ssl_args=--encoder_conf num_blocks=6", ASR],
            "asr_ctc_conformer.yaml: encoder_conf.num_blocks is 4, but 6 in "
            f"{TINY}/ssl_w2vbert_conformer.yaml with --ssl_args '--encoder_conf "
            "num_blocks=6': fine-tuning starts from the pre-trained encoder",
        ),
        (
            [SSL, ASR, "--asr_args=--encoder_conf rel_pos_type=legacy"],
            "encoder_conf.rel_pos_type is legacy, but latest in",
        ),
        ([SSL, ASR, "--asr_args=--frontend_conf n_mels=80"], "conf.n_mels is 80, but"),
        (
            [SSL, ASR, "--asr_args=--normalize utterance_mvn"],
            "normalize is utterance_mvn, but global_mvn in",
        ),
        (
            [SSL, f"--asr_config={TINY / 'asr_ctc_espnet_ssl.yaml'}"],
            "frontend is espnet_ssl, but default in",
        ),
        ([SSL, ASR, "--asr_args=--preencoder linear"], "preencoder is linear, but"),
        # options that nothing understands
        ([SSL, "--ssl_args=--max_epohc 3"], "option --max_epohc: did you mean '--max_"),
        ([SSL, "--ssl_args=--max_epoch x"], "--ssl_args '--max_epoch x': argument --m"),
        ([ASR, "--asr_args=--model_conf ctcweight=1"], "no option 'ctcweight'"),
        (
            [f"--scorer_config={TINY / 'asr_ctc_conformer.yaml'}", "--scorer_args=--x"],
            "--scorer_args '--x': unknown option --x",
        ),
        ([CTC, "--inference_args=--beam_sise 3"], "--beam_sise: did you mean '--beam_"),
        # labels
        ([HUBERT], "loss[0] (hubert) predicts pseudo-labels: give --label_tag"),
        (
            [HUBERT, "--label_tag=mfcc", "--num_clusters=500"],
            "loss[0] (hubert) has num_classes: 50, but --num_clusters is 500",
        ),
        # models that cannot be built
        (
            [SSL, "--ssl_args=--encoder_conf num_blocks=3"],
            "the model cannot be built: loss masked_prediction: layer=4, but the encod",
        ),
        (
            [SSL, "--ssl_args=--encoder_conf input_layer=conv9d"],
            "cannot be built: unknown input_layer: conv9d",
        ),
        ([SSL, "--ssl_args=--masking_conf guidance=hihg"], "cannot be built: "),
        # a search that finds nonsense
        (
            [ASR, CTC, "--inference_args=--ctc_weight 0.3"],
            "--ctc_weight 0.3': ctc_weight is 0.3, but "
            f"{TINY}/asr_ctc_conformer.yaml has no decoder beside CTC",
        ),
    ],
)
def test_what_does_not_fit_is_named(options, message, capsys):
    with pytest.raises(SystemExit):
        check(*options)
    error = capsys.readouterr().err
    assert message in error and error.startswith("ERROR: ")


def test_a_scorer_that_would_be_decoded_to_nonsense_is_a_warning(capsys):
    transducer = [f"--asr_config={CONF / 'tiny' / 'asr_transducer_conformer.yaml'}"]
    transducer += [f"--inference_config={CONF / 'decode_transducer.yaml'}"]
    check(*transducer)
    assert capsys.readouterr().err == ""
    check(*transducer, f"--scorer_config={TINY / 'asr_ctc_conformer.yaml'}")
    assert "--eval_scorer false" in capsys.readouterr().err


def test_default_modules_are_espnets():
    from espnet2.tasks import asr

    from espnet_a2m.bin.config_values import DEFAULTS
    from espnet_a2m.training import task

    ours = {name: x.default for name, x in task.part_choices.items()}
    assert asr.normalize_choices.default == ours["normalize"] == DEFAULTS["normalize"]
    assert asr.preencoder_choices.default is ours["preencoder"] is None
    assert asr.decoder_choices.default is None
