"""Misspelt configuration keys are found, with the nearest name that is known."""

import pytest
import yaml

from espnet_a2m.core.config import ConfigError, check_kwargs, load_config
from espnet_a2m.training.validate_config import check_config

CONFORMER = {"encoder": "conformer", "encoder_conf": {"output_size": 144}}
LOSS = [{"name": "contrastive", "conf": {"layer": 2}}]


def takes(size: int, rate: float = 0.1):
    """Stands for a class with two options."""


def takes_anything(size: int, **kwargs):
    """Stands for a class that hands its options on."""


def test_check_kwargs():
    check_kwargs(takes, {"size": 3}, "conf")
    check_kwargs(takes, {}, "conf")
    check_kwargs(takes_anything, {"whatever": 1}, "conf")
    with pytest.raises(ConfigError, match=r"conf: takes has no option 'sise'.*'size'"):
        check_kwargs(takes, {"sise": 3}, "conf")
    with pytest.raises(ConfigError, match=r"choose of rate, size"):
        check_kwargs(takes, {"x": 3}, "conf")
    with pytest.raises(ConfigError, match=r"rate: .*1e-3 as a string.* 1\.0e-3"):
        check_kwargs(takes, {"rate": yaml.safe_load("1e-3")}, "conf")
    check_kwargs(takes, {"rate": yaml.safe_load("1.0e-3")}, "conf")
    with pytest.raises(ConfigError, match=r"no option 'size'"):
        check_kwargs(takes, {"size": 3}, "conf", given=["size"])


def test_load_config_names_file_and_line(tmp_path):
    path = tmp_path / "a.yaml"
    for text, message in (
        ("encoder: a\nencoder: b\n", r"a\.yaml:2: .*'encoder' is given twice"),
        ("a:\n  b: 1\n  c: 1\n  b: 2\n", r"a\.yaml:4: .*'b' is given twice"),
        ("a: [1\n", r"a\.yaml:2: not valid YAML"),
        ("- a\n", r"a\.yaml: expected lines"),
        ("a: &a [1, *a]\n", r"a\.yaml:1: .*alias \*a .*write the value out"),
        ("a: &a [1]\nb: &b\n- *a\n", r"a\.yaml:3: .*alias \*a "),
        ("a: &a [1]\nb:\n" + 101 * "- *a\n", r"a\.yaml:103: .*more than 100"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)
    path.write_text("a: &a {b: 1}\nc: {<<: *a, d: 2}\n")
    assert load_config(path) == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}
    path.write_text("# all defaults\n")
    assert load_config(path) == {}
    with pytest.raises(ConfigError, match=r"none\.yaml: no such"):
        load_config(tmp_path / "none.yaml")


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
