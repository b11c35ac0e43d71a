#!/usr/bin/env python3
"""Get the Asterisk core sounds: from a directory, by apt, or from their project.

Afterwards DOWNLOADS/sounds/{en,es,fr,it,ru} are links to folders with <prompt>.g722
files, and DOWNLOADS/sounds/core-sounds-en.txt (or .txt.gz) to the transcripts. With
--music true, DOWNLOADS/sounds/music is a link to the music on hold.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, main_guard, warn
from espnet_a2m.core.files import atomic_writer

LANGUAGES = ("en", "es", "fr", "it", "ru")
TRANSCRIPTS = ("core-sounds-en.txt", "core-sounds-en.txt.gz")
MUSIC = "music"  # on hold
#: Names of links in DOWNLOADS/sounds, and the packages they come from
PACKAGES = {x: f"asterisk-core-sounds-{x}-g722" for x in LANGUAGES}
PACKAGES |= {"transcripts": "asterisk-core-sounds-en"}
SPEECH = tuple(PACKAGES)
PACKAGES |= {MUSIC: "asterisk-moh-opsound-g722"}
BASE_URL = "https://downloads.asterisk.org/pub/telephony/sounds/releases"
VERSION, MUSIC_VERSION = "1.6.1", "2.03"
# Folders of our own, and none of the actions that follow the machine's own updates.
APT_CONFIG = """\
Dir::State::Lists "{folder}/lists";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
SOURCES = ("apt", "tarballs")

# Folder names: Debian's (en_US_f_Allison), an installed Asterisk's (en), the tarballs'.
FOLDER = re.compile(
    r"(?:asterisk-core-sounds-)?(en|es|fr|it|ru)"
    r"(?:_(?:US|MX|CA|IT|RU)(?:_.*)?|-g722.*)?$"
)
MUSIC_FOLDER = re.compile(r"(?:moh|asterisk-moh-opsound-g722.*)$")


def locate(roots: list[Path]) -> dict[str, Path]:
    """Find the folder of each language, the "transcripts" and the "music"."""
    found: dict[str, Path] = {}
    for root in roots:
        for name, subfolders, _ in os.walk(root, followlinks=True):
            subfolders.sort()
            folder = Path(name)
            for transcripts in TRANSCRIPTS:
                if (folder / transcripts).is_file():
                    found.setdefault("transcripts", folder / transcripts)
            match = FOLDER.fullmatch(folder.resolve().name)
            if match and (folder / "digits" / "1.g722").exists():
                found.setdefault(match[1], folder)
            if MUSIC_FOLDER.fullmatch(folder.resolve().name) and any(
                folder.glob("*.g722")
            ):
                found.setdefault(MUSIC, folder)
    return found


def missing(found: dict[str, Path], wanted: Iterable[str] = SPEECH) -> list[str]:
    """Descriptions of what `locate` did not find."""
    names = {x: f"{x} sounds (g722)" for x in LANGUAGES}
    names |= {
        "transcripts": TRANSCRIPTS[0],
        MUSIC: f"music on hold ({PACKAGES[MUSIC]})",
    }
    return [names[x] for x in wanted if x not in found]


def link(found: dict[str, Path], sounds: Path) -> None:
    """Write the links of DOWNLOADS/sounds."""
    links = {
        sounds / (place.name if name == "transcripts" else name): place.resolve()
        for name, place in found.items()
    }
    sounds.mkdir(parents=True, exist_ok=True)
    for old in sounds.iterdir():
        old.unlink()
    for name, place in links.items():
        name.symlink_to(place)


def from_directory(
    folder: Path, downloads: Path, wanted: Sequence[str] = SPEECH
) -> dict[str, Path]:
    """Use unpacked sounds, .deb or .tar.gz files of a directory, complete ones."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such directory (--asterisk_dir)")
    names = ("core-sounds-*.deb", "core-sounds-*.tar.gz", "moh-*.deb", "moh-*.tar.gz")
    archives = [path for x in names for path in sorted(folder.glob(f"asterisk-{x}"))]
    roots = [unpack(path, downloads / "unpacked") for path in archives]
    found = locate([folder, *roots])
    if absent := missing(found, wanted):
        raise DataError(
            f"{folder}: missing {', '.join(absent)}; expected there: unpacked sounds "
            "(.../en_US_f_Allison/digits/1.g722 or .../en/digits/1.g722, ...), or the "
            f"files asterisk-core-sounds-*.deb or asterisk-core-sounds-*-g722-{VERSION}"
            ".tar.gz of en, es, fr, it and ru"
        )
    return found


def by_apt(archives: Path, packages: Iterable[str]) -> None:
    """Download the Debian packages without root and without installing anything."""
    if shutil.which("apt-get") is None:
        raise DataError("there is no apt-get on this machine")
    absent = [name for name in packages if not any(archives.glob(f"{name}_*.deb"))]
    if not absent:
        return
    with tempfile.TemporaryDirectory(dir=archives) as folder:
        config = Path(folder).resolve() / "apt.conf"
        text = APT_CONFIG.format(folder=config.parent, user=getpass.getuser())
        config.write_text(text)
        (config.parent / "lists/partial").mkdir(parents=True)
        (config.parent / "cache/archives/partial").mkdir(parents=True)
        print("Fetching the package lists and the sounds (60 MB) by apt-get ...")
        said = []
        for words in (["update"], ["download", *absent]):
            result = subprocess.run(
                ["apt-get", "-q", "-c", config, *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
            lines = result.stderr.splitlines()
            said.append([line for line in lines if line[:2] in ("W:", "E:")])
        if result.returncode:
            raise DataError("apt-get: " + "; ".join(said[0][:2] + said[1][-1:]))
        for path in Path(folder).glob("*.deb"):
            path.replace(archives / path.name)


def by_tarballs(archives: Path, base_url: str, wanted: Iterable[str]) -> None:
    """Download the Asterisk project's own 16 kHz tarballs."""
    # the transcripts are in that of English
    for x in tqdm([x for x in wanted if x != "transcripts"], "tarballs", unit="file"):
        version = MUSIC_VERSION if x == MUSIC else VERSION
        name = f"{PACKAGES[x]}-{version}.tar.gz"
        try:
            if not (archives / name).exists():
                download(f"{base_url}/{name}", archives / name)
        except (OSError, ValueError) as error:  # URLError is an OSError
            reason = getattr(error, "reason", error)
            raise DataError(f"{base_url}/{name}: {reason}") from None


def download(url: str, path: Path) -> None:
    """Download a file, atomically. Raises OSError."""
    with (
        urllib.request.urlopen(url, timeout=60) as source,
        atomic_writer(path) as target,
    ):
        shutil.copyfileobj(source, target)
        expected = source.headers.get("Content-Length")
        if expected is not None and target.tell() != int(expected):
            raise OSError("the connection was interrupted")


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a .deb or .tar.gz file to a folder of its name in `into`."""
    target = into / archive.name.removesuffix(".deb").removesuffix(".tar.gz")
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=into) as folder:
        content = Path(folder, "content")
        content.mkdir()
        command = ["dpkg-deb", "-x", str(archive), str(content)]
        if archive.suffix != ".deb":
            command = ["tar", "-xzf", str(archive), "-C", str(content)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", error)  # OSError: no such program
            raise DataError(
                f"{archive}: cannot be unpacked ({reason}); remove it and run again"
            ) from None
        content.replace(target)
    return target


def get_sounds(
    downloads: Path,
    asterisk_dir: Path | None = None,
    sources: tuple[str, ...] = SOURCES,
    base_url: str = BASE_URL,
    music: bool = False,
) -> Path:
    """Write DOWNLOADS/sounds, trying one source after the other; return it."""
    sounds = downloads / "sounds"
    wanted = [*SPEECH, MUSIC] if music else SPEECH
    packages = [PACKAGES[x] for x in wanted]
    if asterisk_dir is not None:
        link(from_directory(asterisk_dir, downloads, wanted), sounds)
        return sounds
    if not missing(locate([sounds]), wanted):
        return sounds
    archives = downloads / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    tried = []
    for source in sources:
        try:
            if source == "apt":
                by_apt(archives, packages)
            else:
                by_tarballs(archives, base_url, wanted)
            link(from_directory(archives, downloads, wanted), sounds)
            return sounds
        except DataError as error:
            tried.append(f"{source}: {error}")
            warn(tried[-1])
    raise DataError(
        "the Asterisk core sounds could not be obtained.\n  Tried "
        + "\n  Tried ".join(tried)
        + "\n  On a machine with a network, run `apt-get download "
        + " ".join(packages)
        + f"` (Debian, Ubuntu) or download asterisk-core-sounds-{{{','.join(LANGUAGES)}"
        f"}}-g722-{VERSION}.tar.gz from {base_url}, copy the files into one directory "
        "here and give it as --asterisk_dir DIR"
    )


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--asterisk_dir", type=Path, help="unpacked sounds, or their .deb or .tar.gz"
    )
    parser.add_argument("--downloads", type=Path, default=Path("downloads"))
    parser.add_argument(
        "--sources", default=" ".join(SOURCES), help="what to try, in this order"
    )
    parser.add_argument("--base_url", default=BASE_URL, help="where the tarballs are")
    parser.add_argument(
        "--music", choices=("true", "false"), default="false", help="also music on hold"
    )
    args = parser.parse_args(argv)
    sources = tuple(args.sources.split())
    if unknown := set(sources) - set(SOURCES):
        raise DataError(f"--sources {unknown.pop()}: expected {' '.join(SOURCES)}")
    music = args.music == "true"
    sounds = get_sounds(
        args.downloads, args.asterisk_dir, sources, args.base_url, music
    )
    print(f"Asterisk core sounds: {sounds}")


if __name__ == "__main__":
    main()
