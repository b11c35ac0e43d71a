"""AMI: data directories from its annotation and audio."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import soundfile
from helpers.asterisk_sounds import prompts
from helpers.commands import SPEECH
from helpers.meetings import cut, prepare, refused, same_files
from helpers.miniature_ami import Spoken, genuine_ami, prompts_as_meetings, write_ami

from espnet_a2m.data.datadir import DataDir

pytestmark = pytest.mark.recipe

PARTIAL = {"allow_missing": "true"}
MANUAL = "ami_public_manual_1.6.2"


@pytest.fixture(scope="module")
def meetings():
    return prompts_as_meetings(prompts(0.8, 2.5)[:48])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, meetings):
    folder = tmp_path_factory.mktemp("ami")
    write_ami(folder, meetings)
    return folder


@pytest.fixture
def copy(tmp_path, corpus):
    """A copy of the corpus to damage."""
    return shutil.copytree(corpus, tmp_path / "copy")


@pytest.fixture(scope="module")
def data(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("data")
    sets = ("ihm_train", "ihm_dev", "sdm1_train", "sdm1_eval", "mdm8_train")
    prepare("ami", corpus, folder, *sets, **PARTIAL)
    return folder


# genuine words of the annotation, and cases of its kinds
RULES = {
    "Mm-hmm.": ["MM-HMM"],
    "Uh-huh, yeah.": ["UH-HUH YEAH"],
    "the X_M_L_ and the I_D_s.": ["THE X M L AND THE I D S"],
    "O_K_ 'Kay, it's Dave's.": ["OK 'KAY IT'S DAVE'S"],
    "off-line right-click.": ["OFF LINE RIGHT CLICK"],
    "User Interface Defin- Designer.": ["USER INTERFACE DEFIN DESIGNER"],
    "What? No.": ["WHAT NO"],
    "Yes. Well, no.": ["YES", "WELL NO"],
    ", .": [],
    f"{'one ' * 14}two, {'three ' * 9}four, {'five ' * 19}six.": [
        f"{'ONE ' * 14}TWO {'THREE ' * 9}FOUR",
        f"{'FIVE ' * 19}SIX",
    ],
    f"{'word ' * 34}end.": [f"{'WORD ' * 34}END"],  # nowhere to cut
}


def test_text_rules(tmp_path):
    silence = np.zeros(16000 * 8, np.int16)
    starts = range(0, len(RULES) * len(silence), len(silence))
    spoken = [Spoken(start, words, silence) for start, words in zip(starts, RULES)]
    write_ami(tmp_path, {"ES2011a": {0: spoken}})
    prepare("ami", tmp_path, tmp_path / "data", "ihm_dev", **PARTIAL)
    data = DataDir.load(tmp_path / "data" / "ihm_dev")
    for start, (words, expected) in zip(starts, RULES.items()):
        inside = [
            data.tables["text"][utt]
            for utt, segment in data.segments.items()
            if start / 16000 <= segment.start < start / 16000 + 8
        ]
        assert inside == expected, words


def test_headsets_ids_and_audio_to_the_sample(data, meetings):
    written = DataDir.load(data / "ihm_train", need=["wav.scp", "utt2spk", "text"])
    count = 0
    for meeting in ("EN2001a", "ES2002a"):
        for headset, spoken in meetings[meeting].items():
            for part in spoken:
                times = f"{part.start // 160:07d}_{part.end // 160:07d}"
                speaker = f"AMI_{meeting}_H{headset:02d}_FEO{headset:03d}"
                utt = f"{speaker}_{times}"
                assert written.tables["utt2spk"][utt] == speaker
                assert np.array_equal(cut(written, utt), part.audio)
                words = part.words.upper().translate(str.maketrans("", "", ",.?"))
                assert written.tables["text"][utt] == words
                count += 1
    assert count == len(written.utts) == 24


def test_arrays_hear_everybody_and_overlaps_are_cut(data, meetings):
    written = DataDir.load(data / "sdm1_train")
    headsets = DataDir.load(data / "ihm_train")
    assert list(written.tables["text"].values()) != []
    assert sorted(written.tables["text"].values()) == sorted(
        headsets.tables["text"].values()
    )
    assert list(written.wav_scp) == ["EN2001a.Array1-01", "ES2002a.Array1-01"]
    spans = sorted((s.recording, s.start, s.end) for s in written.segments.values())
    assert any(a[0] == b[0] and b[1] < a[2] for a, b in zip(spans, spans[1:]))
    beamformed = DataDir.load(data / "mdm8_train")
    assert list(beamformed.wav_scp) == ["EN2001a_MDM8", "ES2002a_MDM8"]


def test_nothing_differs_from_lhotses_own_manifests(corpus, data):
    from lhotse.recipes.ami import prepare_ami

    for mic, name in (("ihm", "ihm_train"), ("sdm", "sdm1_train")):
        theirs = prepare_ami(
            corpus, None, None, mic, "full-corpus-asr", "kaldi", 30
        )  # fmt: skip
        written = DataDir.load(data / name)
        ours = {
            (s.recording.split(".")[0], round(s.start, 4), written.tables["text"][utt])
            for utt, s in written.segments.items()
        }
        assert ours == {
            (s.recording_id, round(s.start, 4), s.text)
            for s in theirs["train"]["supervisions"]
        }


def test_a_second_run_changes_nothing(corpus, data, tmp_path):
    for _ in range(2):
        prepare("ami", corpus, tmp_path, "ihm_train", "ihm_dev", **PARTIAL)
        for name in ("ihm_train", "ihm_dev"):
            assert same_files(tmp_path / name, data / name)


def test_a_missing_headset_shifts_no_other(copy, data, tmp_path, capsys):
    (copy / "EN2001a" / "audio" / "EN2001a.Headset-1.wav").unlink()
    said = refused(capsys, "ami", "--corpus_dir", copy, "--sets", "ihm_train")
    assert "EN2001a.Headset-1.wav" in said and "groups.inf.ed.ac.uk/ami" in said
    prepare("ami", copy, tmp_path / "rest", "ihm_train", **PARTIAL)
    assert "EN2001a.Headset-1.wav" in capsys.readouterr().err
    complete = DataDir.load(data / "ihm_train").tables["text"]
    rest = DataDir.load(tmp_path / "rest" / "ihm_train").tables["text"]
    assert rest == {u: t for u, t in complete.items() if "EN2001a_H01" not in u}


def test_a_stereo_array_gives_its_first_channel(copy, tmp_path, capsys):
    """lhotse leaves such a recording out: of the genuine corpus, ES2010d."""
    array = copy / "ES2004a" / "audio" / "ES2004a.Array1-01.wav"
    samples, fs = soundfile.read(array, dtype="int16")
    soundfile.write(array, np.stack([samples, samples // 2], 1), fs)
    prepare("ami", copy, tmp_path / "data", "sdm1_eval", **PARTIAL)
    assert f"{array}: the first of 2 channels" in capsys.readouterr().out
    written = DataDir.load(tmp_path / "data" / "sdm1_eval")
    for utt, segment in written.segments.items():
        start, end = round(segment.start * fs), round(segment.end * fs)
        assert np.array_equal(cut(written, utt), samples[start:end])


def test_what_passes_the_end_of_a_recording_is_left_out(
    copy, meetings, tmp_path, capsys
):
    headset = copy / "ES2011a" / "audio" / "ES2011a.Headset-0.wav"
    samples, fs = soundfile.read(headset, dtype="int16")
    parts = meetings["ES2011a"][0]
    # the second ends within the half second that stage 3 cuts off, as Kaldi does
    soundfile.write(headset, samples[: parts[1].end - fs // 4], fs)
    prepare("ami", copy, tmp_path / "data", "ihm_dev", **PARTIAL)
    said = capsys.readouterr().err
    assert "1 utterances left out that pass the end of their recording" in said
    written = DataDir.load(tmp_path / "data" / "ihm_dev")
    assert len([u for u in written.utts if "_H00_" in u]) == len(parts) - 1 == 2


def test_counts_are_compared_with_published_ones(corpus, tmp_path, capsys):
    prepare("ami", corpus, tmp_path, "ihm_dev", **PARTIAL)
    shown = capsys.readouterr()
    assert "4 recordings, 12 utterances" in shown.out
    assert "12 utterances where 13,059 are expected" in shown.err


def test_arrays_that_were_never_recorded_are_no_error(corpus, capsys):
    said = refused(capsys, "ami", "--corpus_dir", corpus, "--sets", "sdm1_train")
    assert (
        "sdm1_train: 133 meeting(s) missing" in said
    )  # of 137: 2 here, 2 never recorded
    said = refused(capsys, "ami", "--corpus_dir", corpus, "--sets", "ihm_train")
    assert "ihm_train: 135 meeting(s) missing" in said and "ES2002b" in said


def test_worn_microphones_without_arrays(copy, tmp_path, capsys):
    """With --allow_missing, what there is no audio of is left out; else where it is."""
    for array in copy.rglob("*.Array1-01.wav"):
        array.unlink()
    said = refused(capsys, "ami", "--corpus_dir", copy, "--sets", "ihm_dev", "sdm1_dev")
    assert "groups.inf.ed.ac.uk/ami" in said and "--allow_missing true" in said
    prepare("ami", copy, tmp_path / "data", "ihm_dev", "sdm1_dev", **PARTIAL)
    said = capsys.readouterr().err
    assert "file(s): ES2011a/audio/ES2011a.Array1-01.wav" in said
    assert "sdm1_dev is not written; if it is a test set, leave it out of --t" in said
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["ihm_dev"]
    said = refused(capsys, "ami", "--corpus_dir", copy, "--sets", "sdm1_dev",
                   "--allow_missing", "true")  # fmt: skip
    assert "no utterance for sdm1_dev in it. AMI (CC BY 4.0) is at" in said


def test_a_missing_test_set_is_named_by_the_next_stage(tmp_path, capsys):
    from espnet_a2m.data.formatting import check_data_dir

    with pytest.raises(SystemExit):
        check_data_dir.main([str(tmp_path / "sdm1_dev")])
    said = capsys.readouterr().err
    assert "sdm1_dev: no such data directory" in said and "of --test_sets" in said


def test_annotation_in_a_zip(copy, data, tmp_path):
    shutil.make_archive(str(copy / MANUAL), "zip", copy / MANUAL)
    shutil.rmtree(copy / MANUAL)
    shutil.move(copy / f"{MANUAL}.zip", tmp_path / f"{MANUAL}.zip")
    given = {"annotations": str(tmp_path / f"{MANUAL}.zip"), **PARTIAL}
    shutil.rmtree(copy / "ES2004a")  # and meetings below amicorpus/
    (copy / "amicorpus").mkdir()
    for meeting in ("EN2001a", "ES2002a"):
        shutil.move(copy / meeting, copy / "amicorpus" / meeting)
    prepare("ami", copy, tmp_path / "data", "ihm_train", **given)
    for name in ("text", "segments"):
        written = (tmp_path / "data" / "ihm_train" / name).read_text()
        assert written == (data / "ihm_train" / name).read_text()


def _other_release(copy):
    (copy / MANUAL / "00README_MANUAL.txt").write_text("... release 1.6.1\n")


def _no_readme(copy):
    (copy / MANUAL / "00README_MANUAL.txt").unlink()


def _other_folder(copy):
    (copy / MANUAL).rename(copy / "ami_public_manual_1.6.1")


def _cut_words(copy):
    words = copy / MANUAL / "words" / "ES2011a.B.words.xml"
    words.write_bytes(words.read_bytes()[:-40])


def _no_words(copy):
    (copy / MANUAL / "words" / "ES2011a.B.words.xml").unlink()


def _no_meetings(copy):
    (copy / MANUAL / "corpusResources" / "meetings.xml").unlink()


def _odd_times(copy):
    words = copy / MANUAL / "words" / "ES2011a.B.words.xml"
    words.write_text(words.read_text().replace('starttime="', 'starttime="x'))


def _cut_audio(copy):
    audio = copy / "ES2011a" / "audio" / "ES2011a.Headset-2.wav"
    audio.write_bytes(audio.read_bytes()[:-4000])


def _cut_zip(copy):
    shutil.make_archive(str(copy / MANUAL), "zip", copy / MANUAL)
    shutil.rmtree(copy / MANUAL)
    archive = copy / f"{MANUAL}.zip"
    archive.write_bytes(archive.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_other_release, ("00README_MANUAL.txt: release 1.6.1", "1.6.2 is expected")),
        (_no_readme, ("no 00README_MANUAL.txt", "unpack")),
        (_other_folder, ("ami_public_manual_1.6.2.zip", "1.6.1 of another version")),
        (_cut_words, ("ES2011a.B.words.xml: damaged", "unpack")),
        (_no_words, ("ES2011a.B.words.xml: no such file", "unpack")),
        (_no_meetings, ("meetings.xml: no such file", "unpack")),
        (_odd_times, (MANUAL, "could not convert string to float", "unpack")),
        (_cut_audio, ("ES2011a.Headset-2.wav: truncated", "replace the file")),
        (_cut_zip, (f"{MANUAL}.zip: damaged", "download it again")),
    ],
)
def test_damage_is_named(copy, capsys, damage, words):
    damage(copy)
    said = refused(
        capsys, "ami", "--corpus_dir", copy, "--sets", "ihm_dev",
        "--allow_missing", "true", "--data", copy / "data",
    )  # fmt: skip
    assert all(word in said for word in words), said


def test_what_a_user_forgets(corpus, tmp_path, capsys):
    assert "Set AMI in the recipe's db.sh" in refused(capsys, "ami")
    assert "no such directory: correct AMI" in refused(
        capsys, "ami", "--corpus_dir", tmp_path / "none"
    )
    said = refused(capsys, "ami", "--corpus_dir", tmp_path)
    assert MANUAL in said and "groups.inf.ed.ac.uk/ami" in said
    said = refused(capsys, "ami", "--corpus_dir", corpus, "--sets", "ihm_test")
    assert "no set ihm_test; it has ihm_train" in said
    (corpus / "ES2011a" / "audio" / "ES2011a_MDM8.wav").rename(tmp_path / "x")
    said = refused(capsys, "ami", "--corpus_dir", corpus, "--sets", "mdm8_dev")
    assert "ES2011a_MDM8.wav" in said and "BeamformIt" in said
    (tmp_path / "x").rename(corpus / "ES2011a" / "audio" / "ES2011a_MDM8.wav")
    said = refused(capsys, "ami", "--download", "true", "--sets", "mdm8_dev")
    assert "BeamformIt" in said


def test_genuine_annotation(tmp_path, capsys, short_utterances):
    """Every word that was listed by hand to lie within the 30 s is in its place."""
    read = [soundfile.read(p, dtype="int16")[0] for _, p, _ in short_utterances[:20]]
    genuine_ami(tmp_path, np.concatenate(read)[: 30 * 16000])
    sets = ("sdm1_train", "sdm1_eval")
    prepare("ami", tmp_path, tmp_path / "data", *sets, **PARTIAL)
    assert "lhotse left out 2 words" in capsys.readouterr().err
    said: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for name in sets:
        written = DataDir.load(tmp_path / "data" / name)
        for utt, segment in sorted(written.segments.items()):
            key = (segment.recording.split(".")[0], written.tables["utt2spk"][utt])
            part = (segment.start, segment.end, written.tables["text"][utt])
            said.setdefault(key, []).append(part)
    table = (SPEECH / "amicorpus" / "segments.tsv").read_text().splitlines()
    checked = 0
    for row in table[1:]:
        meeting, _, start, end, text = row.split("\t")
        words = re.sub("[-_]", " ", text.upper()).split()
        if not words or float(end) > 29:
            continue
        spoken = [
            " ".join(t for s, e, t in parts if s >= float(start) and e <= float(end))
            for (m, _), parts in said.items()
            if m == meeting
        ]
        assert " ".join(words) in [s.replace("-", " ") for s in spoken], row
        checked += 1
    assert checked > 30
