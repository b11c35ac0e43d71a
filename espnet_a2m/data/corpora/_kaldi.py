"""lhotse's recordings and supervisions as Kaldi data directories, without pipes.

A channel of a multi-channel recording is named in `segments`, so that stage 3 reads
what an utterance lasts and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.datadir import Segment, write_data_dir
from espnet_a2m.data.formatting.format_jobs import END_SLACK
from espnet_a2m.data.tables import check_key

if TYPE_CHECKING:
    from lhotse import Recording, RecordingSet, SupervisionSegment


class EmptySet(DataError):
    """Nothing of a set is there."""


@dataclass
class Utterances:
    """What a data directory is made of, filled utterance by utterance.

    Args:
        origin: what an error message names: the corpus' directory.
        tables: further `utt2*` tables.
    """

    origin: Path
    wav_scp: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def add(
        self,
        utt: str,
        recording: Recording,
        channel: int,
        start: float,
        end: float,
        speaker: str,
        text: str | None,
    ) -> None:
        """Add seconds `start` to `end` of a channel of a recording.

        What stage 3 would refuse because it lies outside of the recording or has no
        length is noted in `outside` instead, and in `twice` what has an id that is
        there already, as nobody can mend the annotation of a corpus.

        Raises:
            DataError: the id is no key, or the recording lacks the channel.
        """
        check_key(utt, str(self.origin))
        check_key(speaker, str(self.origin))
        if utt in self.segments:
            self.twice.append(utt)
            return
        last = min(recording.duration, end)
        if not 0 <= start < last or end > recording.duration + END_SLACK:
            self.outside.append(utt)
            return
        for source in recording.sources:
            if channel in source.channels:
                break
        else:
            raise DataError(
                f"{self.origin}: {utt}: the recording {recording.id} has no channel "
                f"{channel}; look for its missing audio file"
            )
        name = Path(str(source.source)).stem
        path = str(Path(str(source.source)).absolute())
        if self.wav_scp.setdefault(name, path) != path:
            raise DataError(
                f"{self.origin}: two files are called {name}: {path} and "
                f"{self.wav_scp[name]}"
            )
        several = len(source.channels) > 1
        index = source.channels.index(channel) if several else None
        self.segments[utt] = Segment(name, start, end, index)
        self.utt2spk[utt] = speaker
        if text is not None:
            self.text[utt] = text

    @property
    def hours(self) -> float:
        """Length of all utterances, overlapping ones counted each."""
        return sum(s.end - s.start for s in self.segments.values()) / 3600

    @property
    def words(self) -> int:
        """Words of all transcripts."""
        return sum(len(text.split()) for text in self.text.values())

    @property
    def counts(self) -> dict[str, float]:
        """What `compare_counts` compares."""
        return {
            "recordings": len(self.wav_scp),
            "utterances": len(self.segments),
            "words": self.words,
            "hours": self.hours,
        }

    def write(self, path: Path) -> None:
        """Write the data directory. Raises EmptySet when nothing would be in it."""
        for some, why in (
            (self.outside, "that pass the end of their recording, or have no length"),
            (self.twice, "whose ids others have, of which the first are kept"),
        ):
            if some:
                print(
                    f"WARNING: {path}: {len(some)} utterances left out {why}: "
                    f"{preview(some)}",
                    file=sys.stderr,
                )
        if not self.segments:
            raise EmptySet(f"{self.origin}: no utterance for {path.name} is in there")
        tables = {**self.tables, "utt2spk": self.utt2spk}
        if self.text:
            tables["text"] = self.text
        write_data_dir(path, self.wav_scp, tables, self.segments)
        print(
            f"{path}: {len(self.wav_scp)} recordings, {len(self.segments)} utterances, "
            f"{self.words} words, {self.hours:.2f} h"
        )


def collect(
    origin: Path,
    recordings: RecordingSet,
    supervisions: Iterable[SupervisionSegment],
    utt_of: Callable[[SupervisionSegment], str],
    speaker_of: Callable[[SupervisionSegment], str],
) -> Utterances:
    """Utterances of a corpus' supervisions, of the first channel, if they have text.

    Args:
        origin: what an error message names.
        utt_of: the utterance's id, which must start with its speaker's.
        speaker_of: the speaker's id.

    Raises:
        DataError: see `Utterances.add`.
    """
    found = Utterances(origin)
    for part in supervisions:
        if not (part.text or "").strip():
            continue
        found.add(
            utt_of(part),
            recordings[part.recording_id],
            part.channel if isinstance(part.channel, int) else part.channel[0],
            part.start,
            part.end,
            speaker_of(part),
            " ".join(part.text.split()),
        )
    return found
