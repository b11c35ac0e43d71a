"""The data stages' programs: speeds, filtering, token lists."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import soundfile
from helpers.commands import make_dir, ok, refused

from espnet_a2m.data.formatting import filter_lengths
from espnet_a2m.data.tables import read_scp

pytestmark = pytest.mark.espnet


# ------------------------------------------------------------------ perturb_speed.py
def test_speeds_are_applied(tmp_path, speech_dir):
    ok("data perturb_speed", "--factors", "0.9 1.0 1.1", speech_dir, "sp", cwd=tmp_path)
    spk = read_scp(tmp_path / "sp" / "utt2spk")
    assert len(spk) == 120
    utt = next(iter(read_scp(speech_dir / "wav.scp")))
    assert spk[f"sp0.9-{utt}"] == "sp0.9-" + spk[utt]
    text = read_scp(tmp_path / "sp" / "text")
    assert text[f"sp1.1-{utt}"] == text[utt]
    ok("data format_wav", "--nj", 2, "sp", "dump/sp", cwd=tmp_path)
    lengths = read_scp(tmp_path / "dump/sp/utt2num_samples")
    original = soundfile.info(read_scp(speech_dir / "wav.scp")[utt]).frames
    assert int(lengths[utt]) == original
    assert abs(int(lengths[f"sp0.9-{utt}"]) - original / 0.9) <= 1
    assert abs(int(lengths[f"sp1.1-{utt}"]) - original / 1.1) <= 1
    message = refused("data perturb_speed", "sp", "sp2", cwd=tmp_path)
    assert "speed-perturbed" in message


@pytest.mark.parametrize("factors", ["fast", "0.9 0.90", "7", ""])
def test_bad_speeds(tmp_path, speech_dir, factors):
    arguments = ("--factors", factors, speech_dir, "sp")
    assert "speed factor" in refused("data perturb_speed", *arguments, cwd=tmp_path)


# ----------------------------------------------------------------- filter_lengths.py
def test_filters_by_length_and_text(tmp_path):
    samples = {"a-1": 1599, "a-2": 1600, "a-3": 320000, "a-4": 320001, "a-5": 9999}
    make_dir(
        tmp_path / "src",
        {utt: Path(f"{utt}.flac") for utt in samples},
        utt2num_samples={utt: str(n) for utt, n in samples.items()},
        text={"a-1": "X", "a-2": "X", "a-3": "X", "a-4": "X", "a-5": ""},
    )
    (tmp_path / "src" / "fs").write_text("16000\n")
    options = ("--min_wav_duration", 0.1, "--max_wav_duration", 20)
    out = ok("data filter_lengths", *options, "src", "dst", cwd=tmp_path)
    assert list(read_scp(tmp_path / "dst" / "wav.scp")) == ["a-2", "a-3"]
    assert read_scp(tmp_path / "dst" / "text") == {"a-2": "X", "a-3": "X"}
    assert "kept 2 of 5" in out
    assert "dropped 1 (0.000 h): empty text" in out
    message = refused("data filter_lengths", "--max_wav_duration", 0.05, "src", "none",
                      cwd=tmp_path)  # fmt: skip
    assert "none of 5 utterances is left" in message
    assert "8000" in refused("data filter_lengths", "--fs", 8000, "src", "x",
                             cwd=tmp_path)  # fmt: skip


def test_a_filtered_set_is_complete_when_it_has_its_wav_scp(tmp_path, monkeypatch):
    notes = {"audio_format": "flac\n", "feats_type": "raw\n", "fs": "16000\n"}
    source, target = tmp_path / "src", tmp_path / "dst"
    make_dir(source, {"a-1": Path("a.flac")}, utt2num_samples={"a-1": "16000"})
    for name, note in notes.items():
        (source / name).write_text(note)

    class Interrupted(BaseException):
        pass

    def replace(temporary, name):
        if Path(name).name == "wav.scp":
            raise Interrupted
        real(temporary, name)

    real = os.replace
    filter_lengths.main([str(source), str(target)])
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(os, "replace", replace)
        for name in notes:
            (target / name).write_text("of an earlier run")
        filter_lengths.main([str(source), str(target)])
    assert not (target / "wav.scp").exists()
    assert {name: (target / name).read_text() for name in notes} == notes
    filter_lengths.main([str(source), str(target)])
    assert read_scp(target / "wav.scp") == {"a-1": "a.flac"}


def test_unformatted_input_is_refused(tmp_path, speech_dir):
    message = refused("data filter_lengths", speech_dir, "dst", cwd=tmp_path)
    assert "utt2num_samples missing" in message


# --------------------------------------------------------------------- token_list.py
def token_list(cwd: Path, text: Path, *options: object) -> list[str]:
    ok("data token_list", *options, "--text", text, "--outdir", "tokens", cwd=cwd)
    return (cwd / "tokens" / "tokens.txt").read_text("utf-8").splitlines()


def test_characters_are_those_of_espnet(tmp_path, speech_dir):
    tokens = token_list(tmp_path, speech_dir / "text", "--token_type", "char")
    assert tokens[:2] == ["<blank>", "<unk>"]
    assert tokens[-1] == "<sos/eos>"
    from espnet2.bin.tokenize_text import main

    arguments = ["--token_type", "char", "--field", "2-", "--write_vocabulary", "true"]
    for symbol in ("<blank>:0", "<unk>:1", "<sos/eos>:-1"):
        arguments += ["--add_symbol", symbol]
    out = tmp_path / "espnet.txt"
    main([*arguments, "--input", str(speech_dir / "text"), "--output", str(out)])
    assert out.read_text("utf-8").splitlines() == tokens


def test_bpe_model_and_tokens_agree(tmp_path, speech_dir):
    from espnet2.text.sentencepiece_tokenizer import SentencepiecesTokenizer

    options = ("--token_type", "bpe", "--nbpe", 60)
    tokens = token_list(tmp_path, speech_dir / "text", *options)
    assert len(tokens) == 60  # <s> and </s> of sentencepiece, <blank> and <sos/eos>
    assert (tokens[0], tokens[1], tokens[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    tokenizer = SentencepiecesTokenizer(str(tmp_path / "tokens" / "bpe.model"))
    for text in read_scp(speech_dir / "text").values():
        pieces = tokenizer.text2tokens(text)
        assert set(pieces) <= set(tokens)
        assert tokenizer.tokens2text(pieces) == text


@pytest.mark.parametrize(
    ("nbpe", "said"),
    [
        (90000, "--nbpe 90000: .* Please set it to a value <= "),
        (5, "--nbpe 5: .* smaller than required_chars. 5 vs "),
        (0, "positive"),
    ],
)
def test_bpe_size_that_does_not_fit(tmp_path, speech_dir, nbpe, said):
    options = ("--token_type", "bpe", "--nbpe", nbpe, "--text", speech_dir / "text")
    message = refused("data token_list", *options, "--outdir", "t", cwd=tmp_path)
    assert re.search(said, message)
    assert not list((tmp_path / "t").glob("*"))
