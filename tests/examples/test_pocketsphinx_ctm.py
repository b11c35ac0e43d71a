"""examples/pocketsphinx_ctm.py, run as its documentation says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from helpers.commands import ROOT, environment, ok

from espnet_a2m.confidence.ctm import read_ctm
from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.espnet

END = ";; end of "


def write_ctm(output: Path, *data: Path, nj: int = 1) -> str:
    command = [sys.executable, ROOT / "examples" / "pocketsphinx_ctm.py", "--data"]
    done = subprocess.run(
        [*command, *data, "--output", output, "--nj", str(nj)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_recognises_and_resumes_after_an_interruption(short_utterances, tmp_path):
    pytest.importorskip("pocketsphinx")
    folders = [tmp_path / "first", tmp_path / "second"]
    length = {}
    for folder, (utt, path, _) in zip(folders, short_utterances[::46]):
        write_table(folder / "wav.scp", {utt: path})
        length[utt] = soundfile.info(path).frames
    first, second = length
    ctm = tmp_path / "all.ctm"
    write_ctm(ctm, *folders, nj=2)
    header, *lines = ctm.read_text().splitlines(keepends=True)
    own = {utt: [x for x in lines if x.split()[0] == utt] for utt in length}
    assert lines == [
        *(*own[first], f"{END}{first}\n"),
        *(*own[second], f"{END}{second}\n"),
    ]
    words = read_ctm(ctm)
    assert any(0.1 < word.confidence < 0.9 for utt in words for word in words[utt])
    for utt, found in words.items():
        ends = [word.start + word.duration for word in found]
        starts = [word.start for word in found[1:]] + [length[utt] / 16000]
        assert all(e <= s + 0.021 for e, s in zip(ends, starts, strict=True))

    # interrupted in the second utterance; the mark shows that the first one is kept
    marked = f"{first} 1 0.1 0.1 marked 0.5\n{END}{first}\n"
    partial = tmp_path / "all.ctm.partial"
    partial.write_text(f"{header}{marked}half 1 0.2")
    ctm.unlink()
    write_ctm(ctm, *folders)
    rest = "".join(own[second]) + f"{END}{second}\n"
    assert ctm.read_text() == header + marked + rest and not partial.exists()
    # complete: kept. Other audio: recognised from scratch, whatever came before it
    assert "up to date" in write_ctm(ctm, *folders)
    write_ctm(ctm, folders[1])
    assert ctm.read_text().partition("\n")[2] == rest

    out = tmp_path / "out"
    options = ("--scorer", "ctm", "--scorer_conf", f"file={ctm}")
    ok("score", *options, "--data", folders[1], "--output_dir", out)
    scored = kaldiio.load_mat(read_scp(out / "confidence.scp")[second])[:, 0]
    assert len(scored) == length[second] // 160
    levels = sorted({word.confidence for word in read_ctm(ctm)[second]} | {0.0})
    assert np.abs(np.subtract.outer(scored, levels)).min(1).max() <= 0.51 / 255
