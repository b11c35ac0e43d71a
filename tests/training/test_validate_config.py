"""Misspelt configuration keys are found, with the nearest name that is known."""

import pytest
import yaml

from espnet_a2m.core.config import ConfigError
from espnet_a2m.training.validate_config import check_config

pytestmark = pytest.mark.espnet

CONFORMER = {"encoder": "conformer", "encoder_conf": {"output_size": 144}}
LOSS = [{"name": "contrastive", "conf": {"layer": 2}}]


@pytest.mark.parametrize(
    "task, config, message",
    [
        ("asr", {"max_epochs": 3}, r"unknown option 'max_epochs'.*'max_epoch'"),
        ("asr", {"encoder": "conformr"}, r"encoder: 'conformr'.*'conformer'"),
        (
            "asr",
            {**CONFORMER, "encoder_conf": {"outputsize": 1}},
            r"encoder_conf: ConformerEncoder has no option 'outputsize'.*'output_size'",
        ),
        ("asr", {"optim_conf": {"learning_rate": 1}}, r"optim_conf: Adadelta has no"),
        (
            "asr",
            {"optim": "adam", "optim_conf": {"lr": "1e-3"}},
            r"optim_conf: lr: YAML reads 1e-3 as a string",
        ),
        (
            "asr",
            {"scheduler": "warmuplr", "scheduler_conf": {"warmup_step": 1}},
            r"scheduler_conf: WarmupLR .*'warmup_steps'",
        ),
        ("asr", {"specaug_conf": {"num_time_mask": 2}}, r"specaug_conf has no effect"),
        ("asr", {"ctc_conf": {"dropout": 0.1}}, r"ctc_conf: CTC .*'dropout_rate'"),
        ("asr", {"model_conf": 3}, r"model_conf: expected"),
        ("asr", {"token_type": "bpee"}, r"token_type: 'bpee'.*'bpe'"),
        ("asr", {"max_epoch": "ten"}, r"max_epoch: 'ten' is not a valid value"),
        ("ssl", {"masking_conf": {"mask_probs": 0.4}}, r"masking_conf: .*'mask_prob'"),
        ("ssl", {"loss": [{"name": "contrast"}]}, r"loss\[0\]: .*'contrastive'"),
        ("ssl", {"loss": [{"nam": "x"}]}, r"loss\[0\]: 'nam'.*'name'"),
        (
            "ssl",
            {"loss": LOSS + [{"name": "contrastive", "conf": {"layr": 2}}]},
            r"loss\[1\]\.conf: ContrastiveLoss .*'layer'",
        ),
        ("ssl", {"collate_fn_conf": {"crop": 1}}, r"collate_fn_conf: .*crop_duration"),
        ("decode", {"beam": 3}, r"unknown option 'beam'.*'beam_size'"),
    ],
)
def test_mistakes_are_named(tmp_path, task, config, message):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"train\.yaml: " + message):
        check_config(path, task)


def test_good_configurations_pass(request, tmp_path):
    from espnet2.tasks.asr import ASRTask
    from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

    conf = request.config.rootpath / "conf"
    for pattern, task in (
        ("**/ssl_*.yaml", "ssl"),
        ("**/asr_*.yaml", "asr"),
        ("decode*.yaml", "decode"),
    ):
        for path in sorted(conf.glob(pattern)):
            check_config(path, task)

    # what ESPnet saves beside a model
    saved = tmp_path / "config.yaml"
    args = vars(ASRTask.get_parser().parse_args(["--output_dir", "x"]))
    for option in ASRTask.exclude_opts():
        args.pop(option)
    saved.write_text(yaml_no_alias_safe_dump({**args, **CONFORMER, "version": "1"}))
    check_config(saved, "asr")
