"""CHiME-6's scores per session and location, by the challenge's rules."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

from espnet_a2m.kaldi_table import write_table

sys.path.insert(0, str(ROOT / "local"))

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
    import chime6_score

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
    assert "utt2session: lacks P05_S02" in capsys.readouterr().err
