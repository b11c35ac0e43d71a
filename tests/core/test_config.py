"""Configurations are read strictly, and keys that nothing understands are named."""

from __future__ import annotations

import pytest
import yaml

from espnet_a2m.core.config import ConfigError, check_kwargs, load_config, nearest

pytestmark = pytest.mark.unit


def test_nearest():
    assert nearest("conformr", ["conformer", "transformer"]) == (
        "did you mean 'conformer'?"
    )
    assert nearest("x", ["b", None, "a"]) == "choose of a, b"


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


def test_values_of_a_configuration(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("lr: 1.0e-3\nname: ä\nsize: [1, 2]\n", encoding="utf-8")
    assert load_config(path) == {"lr": 0.001, "name": "ä", "size": [1, 2]}


def test_what_only_an_attacker_writes_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    aliases = "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    for text, message in (
        (f"a0: &a0 [1]\n{aliases}", r"the alias \*a0 is inside of a value"),
        ("a: " + "[" * 1000, "nested too deeply"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine"),
        ("a: 2001-13-01\n", "a value that cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"a\.yaml: cannot be read"):
        load_config(path)
