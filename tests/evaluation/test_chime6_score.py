"""CHiME-6's scores per session and location, by the challenge's rules."""

from __future__ import annotations

import pytest

from espnet_a2m.data.tables import read_scp, write_table

pytestmark = pytest.mark.unit

REFERENCES = {
    "P05_S02_U01_KITCHEN.CH1-0000000-0000100": "mm i see",
    "P05_S02_U02_DINING.CH1-0000200-0000300": "yeah the soup",
    "P06_S02_U01_KITCHEN.CH1-0000100-0000200": "[laughs]",
    "P25_S09_U03_LIVING.CH1-0000100-0000200": "mhm okay then fine",
}
HEARD = {
    "P05_S02_U01_KITCHEN.CH1-0000000-0000100": "HMM I SEE [NOISE]",  # all correct
    "P05_S02_U02_DINING.CH1-0000200-0000300": "yeah soup",  # 1 of 3
    "P06_S02_U01_KITCHEN.CH1-0000100-0000200": "so what",  # 2 of 0
    "P25_S09_U03_LIVING.CH1-0000100-0000200": "",  # 4 of 4
}


@pytest.mark.parametrize("sctk", ["auto", "none"])
def test_scores_per_session_and_location(tmp_path, monkeypatch, capsys, sctk):
    from espnet_a2m.evaluation import chime6 as chime6_score

    tables = {
        "text": REFERENCES,
        "utt2spk": {utt: utt[:3] for utt in REFERENCES},
        "utt2session": {utt: utt[4:7] for utt in REFERENCES},
        "utt2location": {u: u.split("_")[3].split(".")[0] for u in REFERENCES},
    }
    for name, table in tables.items():
        write_table(tmp_path / "dump" / "raw" / "dev" / name, table)
    decoded = tmp_path / "exp" / "asr_atm" / "decode" / "dev"
    write_table(decoded / "text", HEARD)
    write_table(decoded.parent / "test_clean" / "text", HEARD)  # no such set in dump
    monkeypatch.chdir(tmp_path)
    chime6_score.main(["--sctk", sctk])
    table = (decoded / "score_chime6" / "locations.md").read_text()
    assert table in capsys.readouterr().out
    assert table.splitlines() == [
        "|session|DINING|KITCHEN|LIVING|all|",
        "|---|---|---|---|---|",
        "|S02|33.33 (1/3)|66.67 (2/3)|- (0/0)|50.00 (3/6)|",
        "|S09|- (0/0)|- (0/0)|100.00 (4/4)|100.00 (4/4)|",
        "|all|33.33 (1/3)|66.67 (2/3)|100.00 (4/4)|70.00 (7/10)|",
    ]
    assert not (decoded.parent / "test_clean" / "score_chime6").exists()
    places = tables["utt2location"]
    first = min(places)
    write_table(
        tmp_path / "dump" / "raw" / "dev" / "utt2location",
        places | {first: "NOLOCATION"},
    )
    chime6_score.main(["--sctk", sctk])
    said = capsys.readouterr().out.splitlines()
    assert "|session|DINING|KITCHEN|LIVING|NOLOCATION|all|" in said
    assert "|S02|33.33 (1/3)|- (2/0)|- (0/0)|0.00 (0/3)|50.00 (3/6)|" in said
    (tmp_path / "dump" / "raw" / "dev" / "utt2session").write_text("x S02\n")
    with pytest.raises(SystemExit):
        chime6_score.main([])
    assert "utt2session: 4 of 4 utterances of " in capsys.readouterr().err


def test_speechstew_is_scored_by_chime6s_own_references(tmp_path, monkeypatch, capsys):
    """Its transcripts are in another spelling, and a tag that is alone counts there."""
    from espnet_a2m.data.formatting import combine_data
    from espnet_a2m.evaluation import chime6 as chime6_score

    own = tmp_path / "data" / "own" / "chime6" / "dev"
    said = REFERENCES | {min(REFERENCES): "mm the x-ray"}
    tables = {
        "text": said,
        "wav.scp": {"S02": "/S02.wav"},
        "segments": {utt: f"S02 {i} {i + 1}" for i, utt in enumerate(said)},
        "utt2spk": {utt: utt[:3] for utt in said},
        "utt2session": {utt: utt[4:7] for utt in said},
        "utt2location": {utt: utt.split("_")[3].split(".")[0] for utt in said},
    }
    for name, table in tables.items():
        write_table(own / name, table)
    monkeypatch.chdir(tmp_path)
    combined = tmp_path / "dump" / "raw" / "chime6_dev"
    combine_data.main(["--keep_all", str(combined), str(own)])
    text = read_scp(combined / "text")
    assert list(text.values()) == [
        *("MM THE X RAY", "YEAH THE SOUP", "[laughs]", "MHM OKAY THEN FINE")
    ]
    heard = {utt: words.replace("[laughs]", "") for utt, words in text.items()}
    decoded = tmp_path / "exp" / "asr_atm" / "decode" / "chime6_dev"
    write_table(decoded / "text", heard)
    chime6_score.main(["--sctk", "none"])
    shown = capsys.readouterr().out
    assert "against data/own/chime6/dev/text" in shown
    assert "|all|0.00 (0/3)|66.67 (2/3)|0.00 (0/4)|20.00 (2/10)|" in shown  # X RAY
    # without them, the set's own
    chime6_score.main(["--sctk", "none", "--references", "elsewhere"])
    shown = capsys.readouterr().out
    assert "against dump/raw/chime6_dev/text" in shown and "0.00 (0/11)|" in shown
    (own / "text").write_text(f"{max(said)} okay\n")
    with pytest.raises(SystemExit):
        chime6_score.main(["--sctk", "none"])
    assert "data/own/chime6/dev/text: 3 of 4 utterances of " in capsys.readouterr().err
