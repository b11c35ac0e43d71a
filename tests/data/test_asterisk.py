"""The Asterisk recipe's data: getting it, its texts, its sets, its rooms."""

from __future__ import annotations

import functools
import http.server
import shutil
import sys
import tarfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.asterisk_sounds import RECIPE, asterisk_downloads, run

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.datadir import DataDir

sys.path.insert(0, str(RECIPE / "local"))
import get_sounds  # noqa: E402
import prepare_sets  # noqa: E402
import raw_pool  # noqa: E402
import rooms  # noqa: E402
import split  # noqa: E402
from decode import g722_samples, read_g722  # noqa: E402
from transcripts import is_speech, normalize, read_transcripts  # noqa: E402

pytestmark = pytest.mark.recipe

DATA_SH = RECIPE / "local" / "data.sh"


@pytest.fixture(scope="module")
def sounds() -> Path:
    return asterisk_downloads() / "sounds"


@pytest.fixture(scope="module")
def corpus(sounds) -> prepare_sets.Corpus:
    return prepare_sets.read_corpus(sounds)


# ------------------------------------------------------------------------ transcripts
@pytest.mark.parametrize(
    ("prompt", "expected"),
    {
        "dictate/both_help": "PRESS STAR TO TOGGLE PAUSE PRESS POUND TO ENTER A NEW "
        "DICTATION FILENAME",
        "followme/options": "PRESS ONE TO ACCEPT THIS CALL OR TWO TO REJECT IT",
        "digits/a-m": "A M",
        "digits/oclock": "O'CLOCK",
        "confbridge-binaural-on": "THREE D AUDIO ENABLED",
        "confbridge-dec-list-vol-out": "TO DECREASE THE AUDIO VOLUME FROM OTHER "
        "PARTICIPANTS",
        "de-activated": "DE ACTIVATED",
        "call-fwd-no-ans": "CALL FORWARD ON NO ANSWER",
        "letters/at": "AT",
        "letters/exclaimation-point": "EXCLAMATION POINT",
        "spy-h323": "H THREE TWO THREE",
        "spy-iax2": "I A X",
        "spy-misdn": "M I S D N",
        "vm-Cust1": "FOLDER FIVE",
        "vm-intro": "PLEASE LEAVE YOUR MESSAGE AFTER THE TONE WHEN DONE HANG UP OR "
        "PRESS THE POUND KEY",
        "vm-login": "COMEDIAN MAIL MAILBOX",
        "unidentified-no-callback": "UN IDENTIFIED OR WITHHELD AND THEREFORE CANNOT BE "
        "CALLED BACK",
    }.items(),
)
def test_texts_are_spelled_as_spoken(corpus, prompt, expected):
    assert corpus.texts[prompt] == expected


def test_numbers_of_several_digits(corpus):
    text = corpus.texts["demo-instruct"]
    for words in (
        "DIAL FIVE ZERO ZERO TO",
        "A TWENTY EIGHT POINT EIGHT KILOBIT",
        "EXTENSION ONE TWO THREE FOUR AND PASSWORD FOUR TWO FOUR TWO THAT",
    ):
        assert words in text
    with pytest.raises(DataError, match="NUMBERS"):
        normalize("dial 911 now")


def test_only_speech_in_the_expected_characters(corpus, sounds):
    assert set("".join(corpus.texts.values())) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert len(corpus.texts) == 551
    transcripts = read_transcripts(next(sounds.glob("core-sounds-en.txt*")))
    dropped = {p for p in transcripts if not is_speech(p)}
    assert len(dropped) == 17
    assert {"beep", "tt-monkeys", "silence/5", "confbridge-join"} <= dropped
    for language in get_sounds.LANGUAGES:
        assert not dropped & corpus.files[language].keys()
        assert min(corpus.seconds[language].values()) >= prepare_sets.SHORTEST


# ------------------------------------------------------------------------------- sets
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_sets_share_no_text(corpus, share):
    chosen = prepare_sets.choose(corpus, share)
    texts = {n: [corpus.texts[p] for _, p in chosen[n]] for n in prepare_sets.SETS[:3]}
    train, dev, test = (set(t) for t in texts.values())
    assert not train & dev
    assert not train & test
    assert not dev & test
    pretrain = set(chosen["pretrain"])
    heard = {corpus.texts[p] for language, p in pretrain if language == "en"}
    assert not heard & (dev | test)
    assert set(chosen["train_sup"]) <= pretrain
    assert not set(chosen["babble"]) & pretrain
    assert Counter(x for x, _ in chosen["babble"]) == dict.fromkeys(
        ("es", "fr", "it", "ru"), split.BABBLE_PER_LANGUAGE
    )
    assert {language for language, _ in pretrain} == set(get_sounds.LANGUAGES)
    assert chosen == prepare_sets.choose(corpus, share)


def test_sets_have_their_sizes(corpus):
    chosen = prepare_sets.choose(corpus, 1.0)
    seconds = corpus.seconds["en"]
    total = sum(seconds.values())
    for name, low, high in (("dev", 0.08, 0.12), ("test_clean", 0.10, 0.14)):
        prompts = [p for _, p in chosen[name]]
        assert low < sum(seconds[p] for p in prompts) / total < high
        single = [p for p in prompts if " " not in corpus.texts[p]]
        assert len(single) < len(prompts) / 3
        assert sum(seconds[p] for p in single) < 0.1 * sum(seconds[p] for p in prompts)
        assert max(seconds[p] for p in prompts) <= split.LONGEST_EVALUATED


def test_a_text_stays_in_its_set_when_others_come_and_go(corpus):
    sets = split.split(corpus.texts, corpus.seconds["en"])
    fewer = {p: t for p, t in corpus.texts.items() if split.fraction_of(p) < 0.5}
    for name, prompts in split.split(fewer, corpus.seconds["en"]).items():
        for prompt in prompts:
            same = [p for p, t in corpus.texts.items() if t == corpus.texts[prompt]]
            if all(p in fewer for p in same):
                assert prompt in sets[name]


# ------------------------------------------------------------------------------ rooms
@pytest.fixture(scope="module")
def babble(corpus) -> dict[str, list[np.ndarray]]:
    tracks: dict[str, list[np.ndarray]] = {}
    for language, prompt in prepare_sets.choose(corpus, 1.0)["babble"]:
        path = corpus.files[language][prompt]
        tracks.setdefault(language, []).append(read_g722(path) / 32768)
    return tracks


def decibel(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


@pytest.mark.parametrize("prompt", ["activated", "please-try-again", "conf-usermenu"])
def test_far_field(corpus, babble, prompt):
    clean = read_g722(corpus.files["en"][prompt]) / 32768
    speech, noise = rooms.simulate(f"en_{prompt}", clean, babble)
    assert speech.shape == noise.shape == clean.shape
    snr = decibel(rooms.rms(speech) / rooms.rms(noise))
    assert rooms.SNR[0] - 0.01 <= snr <= rooms.SNR[1] + 0.01
    _, rt60, places = rooms.draw_room(rooms.generator(f"en_{prompt}"))
    distance = np.linalg.norm(places[1] - places[0])
    assert rooms.RT60[0] <= rt60 <= rooms.RT60[1]
    assert rooms.DISTANCE[0] - 1e-9 <= distance <= rooms.DISTANCE[1] + 1e-9
    again = rooms.simulate(f"en_{prompt}", clean, babble)
    np.testing.assert_array_equal(rooms.mix(speech, noise), rooms.mix(*again))
    other, babbled = rooms.simulate("en_other", clean, babble)
    other_snr = decibel(rooms.rms(other) / rooms.rms(babbled))
    assert abs(snr - other_snr) > 0.01 and not np.allclose(speech, other)


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e"])
def test_far_field_is_aligned(babble, name):
    click = np.zeros(8000)
    click[4000] = 1.0
    heard = np.abs(rooms.simulate(name, click, babble)[0])
    first = int(np.argmax(heard > 0.3 * heard.max()))
    assert abs(first - 4000) <= 2  # the direct sound


# ------------------------------------------------------------------- all of it
def data_sh(cwd: Path, *options: object):
    return run("bash", DATA_SH, *options, cwd=cwd)


def test_data_sh_makes_every_set(tmp_path, sounds):
    options = ("--asterisk_dir", sounds.parent / "unpacked", "--subset", 0.05)
    result = data_sh(tmp_path, *options)
    assert result.returncode == 0, result.stderr
    assert "English: 551 spoken prompts" in result.stdout
    assert "expected" not in result.stderr  # the counts are as they should be
    for name in prepare_sets.SETS:
        need = ("utt2spk", "utt2lang") + (("text",) if name != "pretrain" else ())
        data = DataDir.load(tmp_path / "data" / name, need=need)
        assert 8 <= len(data.utts) < 200
        assert ("text" in data.tables) == (name != "pretrain")
        for utt, path in data.wav_scp.items():
            info = soundfile.info(tmp_path / path)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert data.tables["utt2lang"][utt] == utt[:2]
    clean, far = (
        DataDir.load(tmp_path / "data" / f"test_{x}") for x in ("clean", "far")
    )
    assert clean.tables == far.tables
    for utt in clean.utts:
        frames = {
            soundfile.info(tmp_path / d.wav_scp[utt]).frames for d in (clean, far)
        }
        assert len(frames) == 1
    # Again: nothing is written, everything stays.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "downloads").rglob("*.flac")}
    assert data_sh(tmp_path, *options).returncode == 0
    assert before == {
        p: p.stat().st_mtime_ns for p in (tmp_path / "downloads").rglob("*.flac")
    }


def test_raw_pool_has_all_speech_of_pretrain(tmp_path, sounds):
    tree = tmp_path / "tree"
    (tree / "moh").mkdir(parents=True)
    for path in sounds.iterdir():
        if path.name != get_sounds.MUSIC:
            (tree / path.name).symlink_to(path.resolve())
    noise = np.random.default_rng(0).integers(0, 256, 16000, np.uint8)  # 2 s
    (tree / "moh" / "tune.g722").write_bytes(noise.tobytes())
    options = ("--asterisk_dir", tree, "--raw_pool", "true", "--subset", 0.02)
    result = data_sh(tmp_path, *options)
    assert result.returncode == 0, result.stderr
    pretrain, raw = (
        DataDir.load(tmp_path / "data" / name) for name in ("pretrain", "pretrain_raw")
    )
    recordings = {
        name: soundfile.read(tmp_path / path)[0] for name, path in raw.wav_scp.items()
    }
    # The utterances are the recordings, without a gap.
    for name, samples in recordings.items():
        cuts = [x for x in raw.segments.values() if x.recording == name]
        ends = [0.0, *(x.end for x in cuts)]
        assert [x.start for x in cuts] == ends[:-1]
        assert ends[-1] == pytest.approx(len(samples) / raw_pool.FS)
    # Each prompt is where the CTM says, above noise that is far below it.
    lines = (tmp_path / "data" / "pretrain_raw" / "ctm").read_text().splitlines()
    spoken: dict[str, float] = Counter()
    for line in lines:
        utt, channel, start, seconds, kind = line.split()
        assert channel == "1" and kind in {"speech", "noise", "music"}
        piece = raw.segments[utt]
        assert 0 <= float(start) < float(start) + float(seconds)
        assert float(start) + float(seconds) <= piece.end - piece.start + 0.002
        if kind == "speech":
            spoken[utt[:2]] += float(seconds)
            first = round((piece.start + float(start)) * raw_pool.FS)
            heard = recordings[piece.recording][first:]
            heard = heard[: round(float(seconds) * raw_pool.FS)]
            assert decibel(rooms.rms(heard)) > raw_pool.LEVELS["tone"][1] + 10
    for language in get_sounds.LANGUAGES:
        utts = [u for u in pretrain.utts if u.startswith(language)]
        infos = (soundfile.info(tmp_path / pretrain.wav_scp[u]) for u in utts)
        seconds = sum(info.duration for info in infos)
        assert spoken[language] == pytest.approx(seconds, abs=0.01)
    total = sum(len(x) for x in recordings.values()) / raw_pool.FS
    assert 0.27 < sum(spoken.values()) / total < 0.6  # 1 / 2.5, by few pauses
    assert data_sh(tmp_path, *options).returncode == 0
    again = {n: soundfile.read(tmp_path / p)[0] for n, p in raw.wav_scp.items()}
    assert all(np.array_equal(again[n], x) for n, x in recordings.items())
    without = data_sh(
        tmp_path, "--asterisk_dir", sounds.parent / "unpacked", "--raw_pool", "true"
    )
    assert without.returncode == 1
    assert "missing music on hold (asterisk-moh-opsound-g722)" in without.stderr


def test_decoding_gives_every_sample(corpus):
    path = corpus.files["en"]["vm-login"]
    samples = read_g722(path)
    assert samples.dtype == np.int16
    assert len(samples) == g722_samples(path)
    assert 1000 < np.abs(samples).max() < 32767


# --------------------------------------------------------------------- where it is from
def small_tree(sounds: Path, folder: Path, names: dict[str, str]) -> Path:
    """A few prompts of each language under the folder names of a layout."""
    for language, name in names.items():
        for prompt in ("digits/1", "vm-login"):
            target = folder / name / f"{prompt}.g722"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sounds / language / f"{prompt}.g722", target)
    text = get_sounds.TRANSCRIPTS[0]
    (folder / names["en"] / text).write_text(
        "; x\nvm-login: Comedian Mail.  Mailbox?\n"
    )
    return folder


INSTALLED = {language: language for language in get_sounds.LANGUAGES}


def test_installed_asterisk_and_its_other_voices(tmp_path, sounds):
    folder = small_tree(sounds, tmp_path / "sounds", INSTALLED)
    shutil.copytree(folder / "en", folder / "en_GB")  # another speaker: not ours
    found = get_sounds.from_directory(folder, tmp_path / "downloads")
    assert found["en"] == folder / "en"
    assert found.keys() == {*get_sounds.LANGUAGES, "transcripts"}
    shutil.rmtree(folder / "fr")
    with pytest.raises(DataError, match="missing fr sounds"):
        get_sounds.from_directory(folder, tmp_path / "downloads")


@pytest.fixture
def tarballs(tmp_path, sounds) -> Path:
    """Tarballs as the Asterisk project's: prompts and texts without a folder."""
    tree = small_tree(sounds, tmp_path / "tree", INSTALLED)
    folder = tmp_path / "releases"
    folder.mkdir()
    for language in get_sounds.LANGUAGES:
        name = f"asterisk-core-sounds-{language}-g722-{get_sounds.VERSION}.tar.gz"
        with tarfile.open(folder / name, "w:gz") as archive:
            for path in sorted((tree / language).iterdir()):
                archive.add(path, path.name)
    return folder


@pytest.fixture
def server(tarballs):
    """A web server with the tarballs; yields its address and what was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(tarballs))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()


def test_tarballs_are_downloaded_once(tmp_path, server):
    url, asked = server
    options = ("--sources", "tarballs", "--base_url", url)
    program = RECIPE / "local" / "get_sounds.py"
    for _ in range(2):
        result = run(sys.executable, program, *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert len(asked) == 5
    corpus = prepare_sets.read_corpus(tmp_path / "downloads" / "sounds")
    assert corpus.texts == {"vm-login": "COMEDIAN MAIL MAILBOX"}
    names = {p.name for p in (tmp_path / "downloads" / "archives").iterdir()}
    assert len(names) == 5  # no temporary file is left


def test_other_counts_than_expected_are_a_warning(tmp_path, tarballs, capsys):
    get_sounds.get_sounds(tmp_path / "downloads", asterisk_dir=tarballs)
    corpus = prepare_sets.read_corpus(tmp_path / "downloads" / "sounds")
    prepare_sets.report_counts(corpus)
    said = capsys.readouterr().err
    assert "English: 2 prompts where 551 are expected (version 1.6.1)" in said


def test_everything_absent_is_explained(tmp_path):
    options = ("--base_url", "http://127.0.0.1:9/none", "--sources", "tarballs")
    result = data_sh(tmp_path, *options)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for part in (
        "could not be obtained",
        "Tried tarballs",
        "127.0.0.1:9",
        "--asterisk_dir",
    ):
        assert part in result.stderr
    assert not (tmp_path / "data").exists()


def test_damaged_archive_is_named(tmp_path, tarballs):
    victim = sorted(tarballs.iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{victim.name}: cannot be unpacked"):
        get_sounds.from_directory(tarballs, tmp_path / "downloads")
    assert not list((tmp_path / "downloads" / "unpacked").iterdir())


def test_bad_options(tmp_path):
    result = data_sh(tmp_path, "--asterisk-dri", "x")
    assert result.returncode == 1
    assert (
        "unknown option --asterisk_dri; did you mean --asterisk_dir?" in result.stderr
    )
    result = data_sh(tmp_path, "--asterisk-dir", tmp_path / "none")
    assert "no such directory (--asterisk_dir)" in result.stderr
