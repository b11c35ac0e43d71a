"""Decoding in shards gives ESPnet's own hypotheses, here and on a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.forking import python

from espnet_a2m.bin.decode import main
from espnet_a2m.data.tables import read_scp
from espnet_a2m.evaluation import decode

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options(scorer) -> list[str]:
    """Options of asr_inference."""
    return [
        *("--config", str(ROOT / "conf/decode_ctc.yaml"), "--num_workers", "0"),
        *("--beam_size", "2"),
        *("--asr_train_config", str(scorer / "config.yaml")),
        *("--asr_model_file", str(scorer / "1epoch.pth")),
    ]


@pytest.fixture(scope="module")
def expected(data, options, tmp_path_factory) -> dict[str, str]:
    """What ESPnet's command decodes."""
    from espnet2.bin.asr_inference import main as espnet

    folder = tmp_path_factory.mktemp("espnet")
    stream = ["--data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"]
    espnet([*options, *stream, "--output_dir", str(folder)])
    found = read_scp(folder / "1best_recog" / "text", allow_empty=True)
    assert len(found) == 24 and len({*found.values()}) > 12
    return found


def run(data: Path, output: Path, *words: object) -> None:
    main([str(word) for word in ("--data", data, "--outdir", output, *words)])


def test_jobs_decode_what_espnet_does(data, options, expected, tmp_path, capsys):
    run(data, tmp_path / "out", "--nj", 3, "--job", 3, "--", *options)
    run(data, tmp_path / "out", "--nj", 3, "--job", 1, *options)
    with pytest.raises(SystemExit):
        run(data, tmp_path / "out", "--nj", 3, *options)
    said = capsys.readouterr().err
    assert "job 2 of 3 is not done" in said and "--job 2" in said
    assert not (tmp_path / "out/text").exists()
    run(data, tmp_path / "out", "--nj", 3, "--job", 2, *options)
    run(data, tmp_path / "out", "--nj", 3, *options)
    assert read_scp(tmp_path / "out/text", allow_empty=True) == expected


def test_a_second_run_decodes_what_is_missing(
    data, options, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(decode, "CHUNK_UTTERANCES", 13)
    run(data, tmp_path, *options)
    chunks = sorted(tmp_path.glob("chunks/*/*.text"))
    assert [len(read_scp(chunk, True)) for chunk in chunks] == [12, 12]
    chunks[1].unlink()
    (tmp_path / "text").unlink()
    before = {chunk: chunk.stat().st_mtime_ns for chunk in chunks if chunk.exists()}
    run(data, tmp_path, *options)
    assert {chunk: chunk.stat().st_mtime_ns for chunk in before} == before
    assert read_scp(tmp_path / "text", allow_empty=True) == expected
    # by other options, everything is decoded again
    run(data, tmp_path, *options, "--penalty", "1")
    assert not chunks[0].exists() and len(list(tmp_path.glob("chunks/*"))) == 1


@pytest.mark.slow
def test_the_driver_decodes_on_a_cluster(data, scorer, expected, tmp_path):
    driver = """
        set -euo pipefail
        . "$1/local/steps.sh"; . "$1/local/training.sh"
        python=$2 run_cpu=("$1/tests/helpers/cluster/slurm.pl") ngpu=0 inference_nj=2
        job_env=(env "PYTHONPATH=$1") sound=sound
        inference_config=$1/conf/decode_ctc.yaml
        decode "$3" "$3/1epoch.pth" "$4" out --num_workers 0 --beam_size 2
    """
    (tmp_path / "path.sh").touch()
    words = [str(word) for word in (ROOT, *python(), scorer, data)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", driver, "driver", *words]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert read_scp(tmp_path / "out/text", allow_empty=True) == expected
    logs = [(tmp_path / f"out/log/decode.{job}.log").read_text() for job in (1, 2)]
    assert all("speech length" in log for log in logs)
