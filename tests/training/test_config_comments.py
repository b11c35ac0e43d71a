"""Every value of a configuration has a reason or a source beside it.

What counts, for a value without a comment of its own on its line or the line above:

- a comment of the key that it is under (``best_model_criterion:  # why``);
- an earlier neighbour's that says how far it goes: "this and the next", "these three",
  "from here to KEY";
- ``specaug: specaug  # all values: whose`` for ``specaug_conf``;
- its section's head (``# 2. Encoder``), if that says what holds for "values without a
  comment". Where it says "as in conf/base", they are compared.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from espnet_a2m.core.config import load_config

pytestmark = pytest.mark.unit

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIGS = sorted(str(path.relative_to(CONF)) for path in CONF.glob("**/*.yaml"))
#: ``key: value  # comment``, an item of a list or not.
LINE = re.compile(
    r"(?P<indent> *(?:-   )?)(?P<key>\w+):(?P<value>[^#]*)(?P<comment>#.*)?"
)
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}


@dataclasses.dataclass
class Entry:
    """A ``key: value`` line.

    Attributes:
        key: Its key.
        path: Keys from the file's top to it.
        value: As written; empty where a block follows.
        own: Comment on its line and on the lines that go on with it.
        above: Comment on lines of its own directly above it.
        head: The first comment of its section.
        number: Line of the file.
    """

    key: str
    path: tuple[str, ...]
    value: str
    own: str
    above: str
    head: str
    number: int


def entries(text: str) -> list[Entry]:
    """All ``key: value`` lines of a configuration."""
    found: list[Entry] = []
    parents: list[tuple[int, str]] = []
    head = above = ""
    new_section, column = True, -1
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped:
            above, new_section, column = "", True, -1
        elif stripped.startswith("#"):
            if line.index("#") == column:  # goes on with the comment of a value
                found[-1].own += " " + stripped.lstrip("# ")
                continue
            above += " " + stripped.lstrip("# ")
            head = above if new_section else head
        elif match := LINE.fullmatch(line):
            indent = len(match["indent"])
            parents = [(i, key) for i, key in parents if i < indent]
            key, comment = match["key"], match["comment"] or ""
            path = (*(key for _, key in parents), key)
            if new_section and not above:
                head = ""
            entry = Entry(key, path, match["value"].strip(), "", above, head, number)
            entry.own = comment.lstrip("# ")
            found.append(entry)
            parents.append((indent, key))
            column = line.index("#") if comment else -1
            above, new_section = "", False
    return found


def reaches(comment: str, distance: int, between: list[str]) -> bool:
    """Does an earlier neighbour's comment say that it holds here, too?"""
    if "this and the next" in comment:
        return distance <= 1
    if match := re.search(r"\bthese (\w+)", comment):
        return distance < NUMBERS.get(match[1], 0)
    if match := re.search(r"from here to (\w+)", comment):
        return match[1] not in between
    return False


def is_title(comment: str) -> bool:
    """A section's title alone, "3. CTC alone", says nothing of a value."""
    return bool(re.fullmatch(r"\s*\d\. [^:.]*", comment))


def unexplained(text: str, heads: bool = True) -> list[Entry]:
    """Values for which nothing says why; ``heads``: not even their section's head."""
    found = entries(text)
    missing = []
    for i, entry in enumerate(found):
        if not entry.value or entry.path == ("loss", "name"):
            continue
        enclosing = [x for x in found[:i] if x.path == entry.path[: len(x.path)]]
        # a list of losses repeats its keys: the last of each is the one around it
        parents = {x.path: x for x in enclosing if not x.value}.values()
        neighbours = [x for x in found[:i] if x.path[:-1] == entry.path[:-1]]
        chosen = [x for x in found[:i] if entry.path[0] == f"{x.key}_conf" and x.value]
        if (
            entry.own
            or (entry.above and not is_title(entry.above))
            or any(x.own for x in parents)
            or any("all values" in x.own for x in chosen)
            or any(
                reaches(
                    x.own,
                    len(neighbours) - n,
                    [y.key for y in neighbours[n:]],
                )
                for n, x in enumerate(neighbours)
            )
            or (heads and "without a comment" in entry.head)
        ):
            continue
        missing.append(entry)
    return missing


@pytest.mark.parametrize("name", CONFIGS)
def test_every_value_has_a_reason_or_a_source(name):
    missing = unexplained((CONF / name).read_text(encoding="utf-8"))
    said = [f"{name}:{x.number}: {'.'.join(x.path)}: {x.value}" for x in missing]
    assert not said, "\n".join(said)


def test_a_value_without_a_reason_is_found():
    text = "# 1. Part\na: 1\n\nb: 2  # why\nc_conf:\n    d: 3  # this and the next: x\n"
    text += "    e: 4\n    f: 5\ng:   # why\n-   h: 6\n# why\ni: 7\n"
    assert [x.key for x in unexplained(text)] == ["a", "f"]
    text = "# 1. Part. Values without a comment: ours\na: 1\n\nb: 2\n"
    assert [x.key for x in unexplained(text)] == ["b"]
    text = "a: x  # all values: whose\na_conf:\n    b: 1\n    c: 2\nd: 3   # why\n"
    text += "       # more\ne: 4\n"
    assert [x.key for x in unexplained(text)] == ["e"]


def test_values_as_in_base_are():
    """What heads of conf/tiny say of values without a comment."""
    compared = 0
    for name in CONFIGS:
        ours = load_config(CONF / name)
        for entry in unexplained((CONF / name).read_text(encoding="utf-8"), False):
            where = f"{name}:{entry.number}: {'.'.join(entry.path)}"
            named = re.search(r"as in conf/(base)(/\w+\.yaml)?", entry.head)
            if named is None:
                continue
            base = (named[2] or name.replace("tiny", "")).lstrip("/")
            theirs = load_config(CONF / "base" / base)
            assert value_of(ours, entry) == value_of(theirs, entry), where
            compared += 1
    assert compared > 100


def value_of(config, entry: Entry):
    """What a configuration has in the place of an entry; losses by name."""
    value = config
    for key in entry.path:
        if isinstance(value, list):  # of losses: theirs that has such a key
            value = next(x for x in value if key in x and entry.key in x["conf"])
        value = value[key]
    return value
