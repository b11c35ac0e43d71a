"""spk2utt: the utterances of each speaker, whatever the size of the set."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.core.files import PathLike
from espnet_a2m.data.tables import check_key, iter_scp, outer_join


def iter_spk2utt(utt2spk: PathLike) -> Iterator[tuple[str, str]]:
    """The lines of spk2utt that belong to a file utt2spk: (speaker, utterances).

    sort(1) puts them in order; it keeps on the disk (of TMPDIR) what is too large.
    """
    process = subprocess.Popen(
        ["sort", "-S", "64M"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        with process.stdin as stream:  # a blank sorts before whatever is in a key
            stream.writelines(f"{s} {u}\n".encode() for u, s in iter_scp(utt2spk))
        lines = (line.decode().rstrip("\n").split(" ") for line in process.stdout)
        for speaker, group in itertools.groupby(lines, itemgetter(0)):
            yield speaker, " ".join(utt for _, utt in group)
    if process.returncode:
        raise DataError(f"{utt2spk}: `sort` failed: is the disk of TMPDIR full?")


def check_speakers(data: Path) -> None:
    """Raise DataError when utt2spk has a bad speaker, or spk2utt is not its inverse."""
    for _, speaker in iter_scp(data / "utt2spk"):
        check_key(speaker, f"{data}/utt2spk")
    path = data / "spk2utt"
    if not path.exists():
        return
    found = ((speaker, " ".join(v.split())) for speaker, v in iter_scp(path))
    different = Preview()
    for speaker, (one, other) in outer_join([iter_spk2utt(data / "utt2spk"), found]):
        if one != other:
            different.add(speaker)
    if different.count:
        raise DataError(
            f"{path}: disagrees with utt2spk about speaker {different}; "
            "remove spk2utt, it is made again from utt2spk"
        )
