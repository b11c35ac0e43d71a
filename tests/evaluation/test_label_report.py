"""P(mask | label) on real speech."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scored_speech import GRID, scored_speech

from espnet_a2m.confidence.ctm import read_ctm, word_frames
from espnet_a2m.core.errors import DataError
from espnet_a2m.evaluation.guidance_report import mask_report
from espnet_a2m.evaluation.label_report import SILENCE, format_labels, label_report
from espnet_a2m.evaluation.mask_sample import sample_masks
from espnet_a2m.evaluation.plots import spans
from espnet_a2m.evaluation.run_masking import RunMasking

pytestmark = pytest.mark.espnet


@pytest.fixture(scope="module")
def sample(short_utterances, tmp_path_factory):
    scored = scored_speech(tmp_path_factory.mktemp("scored"), short_utterances[:20])
    return sample_masks(scored, list(scored.audio), RunMasking({}, GRID, GRID), 20)


def aligned_speech(sample, label=lambda i: "speech", least=0) -> str:
    """Lines of an alignment, without confidences, of where there is energy."""
    shift = GRID.stride / GRID.fs
    return "".join(
        f"{name} 1 {GRID.offset / GRID.fs + (begin - 0.5) * shift:.4f} "
        f"{(end - begin) * shift:.4f} {label(i)}\n"
        for name, utt in list(sample.utterances.items())[least:]
        for i, (begin, end) in enumerate(spans(utt.is_speech))
    )


def test_labels_of_speech_are_what_the_masks_report_of_it(sample, tmp_path):
    ctm = tmp_path / "ali.ctm"
    ctm.write_text(aligned_speech(sample))
    found, masks = label_report(sample, ctm), mask_report(sample)
    assert found["utterances"] == 20 and set(found["labels"]) == {"speech", SILENCE}
    for kind in ("uniform", "guided"):
        speech, silence = (found["labels"][x][kind] for x in ("speech", SILENCE))
        assert speech == pytest.approx(masks[kind]["masked_of_speech"])
        assert silence == pytest.approx(masks[kind]["masked_of_silence"])
    frames = sum(len(utt.confidence) for utt in sample.utterances.values())
    assert sum(of["frames"] for of in found["labels"].values()) == frames


def test_most_and_least_masked_labels_are_listed(sample, tmp_path):
    ctm = tmp_path / "ali.ctm"
    ctm.write_text(aligned_speech(sample, lambda i: f"w{i % 2}", least=8))
    found = label_report(sample, ctm)
    assert found["utterances"] == 12  # the others are not silent, but not aligned
    labels = found["labels"]
    lines = format_labels(found)
    assert "12 utterances aligned, 2 labels" in lines[0]
    ranked = sorted(("w0", "w1"), key=lambda x: -labels[x]["guided"])
    assert [word for word in lines[1].split() if word[0] == "w"] == ranked
    assert lines[-1].startswith(f"  outside {SILENCE} {labels[SILENCE]['guided']:.3f}")

    ctm.write_text("nobody 1 0.0 0.5 a\n")
    with pytest.raises(DataError, match=r"none of the 20 utterances .* first column"):
        label_report(sample, ctm)
    with pytest.raises(DataError, match=r"ali\.ctm:1: no confidence"):
        read_ctm(ctm)
    ctm.write_text("u 1 0.0\n")
    with pytest.raises(DataError, match=r"ali\.ctm:1: expected"):
        read_ctm(ctm, is_alignment=True)


def test_a_frame_has_the_word_over_its_centre(tmp_path):
    ctm = tmp_path / "ali.ctm"
    # centres at 0.03, 0.07, 0.11, ... s
    ctm.write_text("u 1 0.02 0.05 a 0.5\nu 1 0.06 0.04 b NA\n")
    words = read_ctm(ctm, is_alignment=True)["u"]
    found = {word.word: part for word, part in word_frames(words, GRID, 5)}
    frames = np.arange(5)
    assert frames[found["a"]].tolist() == [0] and frames[found["b"]].tolist() == [1]
