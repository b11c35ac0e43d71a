"""How errors that a user can fix are shown, and how long lists are shortened."""

from __future__ import annotations

import pytest

from espnet_a2m.core.errors import DataError, UserError, main_guard, preview

pytestmark = pytest.mark.unit


def fail(error: BaseException):
    """A script that ends with an error."""

    @main_guard
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("a.yaml: fix it"), 1, "ERROR: a.yaml: fix it\n"),
        (DataError("wav.scp: no utt"), 1, "ERROR: wav.scp: no utt\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "ERROR: x: No such file\n"),
        (OSError("the disk is gone"), 1, "ERROR: the disk is gone\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_errors_in_words(capsys, error, status, said):
    with pytest.raises(SystemExit) as end:
        fail(error)()
    assert end.value.code == status
    assert capsys.readouterr() == ("", said)


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())()


def test_a_script_that_works_returns_its_value():
    assert main_guard(lambda x, y: x + y)(1, y=2) == 3


@pytest.mark.parametrize(
    ("names", "count", "said"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        ((f"u{i}" for i in range(1000)), 2, "u0, u1 and 998 more"),
    ],
)
def test_preview(names, count, said):
    assert preview(names, count) == said
