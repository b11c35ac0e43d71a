"""What the planner says of the stages around a training, beside what they do."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.planning import SECONDS, conformer_flops, lines, tiny_args
from kaldiio import WriteHelper

from espnet_a2m.bin.plan import SCORER
from espnet_a2m.core.errors import UserError
from espnet_a2m.data.archives import entry_bytes
from espnet_a2m.training.plan_config import load_args
from espnet_a2m.training.plan_pipeline import LABEL_MB
from espnet_a2m.training.step_count import count_scoring, count_step

pytestmark = pytest.mark.espnet


def plan_of(name, scoring=None):
    """Name -> line of the plan of a tiny configuration, for 1,000 hours."""
    args = tiny_args(name)
    count = count_step(args, SECONDS, tokens_per_second=4)
    given = {"hours": 1000.0, "utilisation": (0.1, 0.3)}
    return lines(args, count, scoring, **given)


def test_scoring_is_a_forward_pass_of_the_scorer():
    args = tiny_args("asr_ctc_conformer")
    counted = count_scoring(args, SECONDS) * SECONDS
    conf = args.encoder_conf
    width, feats = conf["output_size"], int(SECONDS * 100) + 1
    frames = ((feats - 1) // 2 - 1) // 2
    by_hand = conf["num_blocks"] * conformer_flops(
        frames, width, conf["linear_units"], conf["cnn_module_kernel"]
    )
    first = (feats - 1) // 2 * 39 * width * 9
    second = frames * 19 * width * width * 9
    by_hand += 2 * (first + second + frames * 19 * width * width)
    by_hand += 2 * frames * width * 30 + 2 * feats * 257 * 80  # CTC; mel filters
    assert counted == pytest.approx(by_hand, rel=1e-9)

    scoring = ("scorer.yaml", counted / SECONDS)
    planned = plan_of("ssl_w2vbert_conformer", scoring)
    line = planned["before: scoring (stage 8)"]
    days = counted / SECONDS * 1000 * 3600 / (2 * 19.5e12) / 86400  # float32, two GPUs
    assert line.value == pytest.approx(days / 0.3)
    assert line.most == pytest.approx(days / 0.1)
    assert "scorer.yaml" in line.basis and "without TF32" in line.basis


def test_a_scorer_is_a_recogniser_with_ctc():
    args = tiny_args("ssl_w2vbert_conformer")
    with pytest.raises(UserError, match="must be a recogniser with CTC"):
        count_scoring(args, SECONDS)
    args = tiny_args("asr_ctc_attention_conformer")
    args.model_conf = {**args.model_conf, "ctc_weight": 0.0}
    with pytest.raises(UserError, match="must be a recogniser with CTC"):
        count_scoring(args, SECONDS)


def test_the_papers_scorer_is_the_default():
    assert SCORER.is_file()
    # twice its 102.7 million parameters a frame, but what is no product; beside them
    # attention and the input layer's convolutions
    assert 25 * 2 * 100e6 < count_scoring(load_args(SCORER, 1024), 32.0) < 10e9


def test_labels_only_where_they_are_predicted(tmp_path):
    with_labels = plan_of("ssl_hubert_conformer")
    without = plan_of("ssl_w2vbert_conformer")
    for name in ("disk: labels", "before: labels (stage 9)"):
        assert name in with_labels and name not in without
    # 1,000 h at 1,176, 2,400 and 5,000 times real time
    statistics = with_labels["before: statistics (stage 10)"]  # of 100 hours
    assert statistics.value == pytest.approx(100 * 60 / 1176)
    labels = with_labels["before: labels (stage 9)"]
    assert labels.value * 24 == pytest.approx(1000 / 800)
    reading = with_labels["before: reading, each pass"]
    assert reading.value * 24 == pytest.approx(1000 / 3200)
    # an hour of labels, as the archives hold them
    with WriteHelper(f"ark:{tmp_path / 'labels.ark'}") as write:
        write("utt", np.zeros(100 * 3600, dtype=np.int32))
    entry = (tmp_path / "labels.ark").read_bytes().partition(b"utt ")[2]
    assert len(entry) == entry_bytes(entry)
    assert pytest.approx(len(entry), rel=1e-4) == LABEL_MB * 1e6
    assert with_labels["disk: labels"].value == pytest.approx(1000 * LABEL_MB / 1e3)


def test_a_recogniser_has_no_such_stages():
    names = plan_of("asr_ctc_conformer")
    assert not any(name.startswith("before: ") for name in names)
    assert "disk: original corpus" not in names and "disk: confidences" not in names
    assert "disk: original corpus" in plan_of("ssl_w2vbert_conformer")
