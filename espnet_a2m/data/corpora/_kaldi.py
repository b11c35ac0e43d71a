"""lhotse's recordings and supervisions as Kaldi data directories, without pipes.

`segments` names a channel of a multi-channel recording, so that formatting reads the
samples of an utterance and no others.
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
    """A set has no utterance."""


@dataclass
class Utterances:
    """The content of a data directory, filled utterance by utterance.

    Args:
        origin: the corpus' directory, for error messages.
        tables: further `utt2*` tables.
    """

    origin: Path
    wav_scp: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    out_of_range: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

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

        Annotation of a corpus cannot be fixed here: an utterance that lies outside of
        the recording or has no length goes to `out_of_range`, one whose id exists
        already to `duplicates`; both are left out.

        Raises:
            DataError: the id is not a key, or the recording does not have the channel.
        """
        check_key(utt, str(self.origin))
        check_key(speaker, str(self.origin))
        if utt in self.segments:
            self.duplicates.append(utt)
            return
        last = min(recording.duration, end)
        if not 0 <= start < last or end > recording.duration + END_SLACK:
            self.out_of_range.append(utt)
            return
        for source in recording.sources:
            if channel in source.channels:
                break
        else:
            raise DataError(
                f"{self.origin}: {utt}: the recording {recording.id} has no channel "
                f"{channel}: an audio file is missing"
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
        """Total length of the utterances; overlaps count twice."""
        return sum(s.end - s.start for s in self.segments.values()) / 3600

    @property
    def words(self) -> int:
        """Number of words of all transcripts."""
        return sum(len(text.split()) for text in self.text.values())

    @property
    def counts(self) -> dict[str, float]:
        """For `compare_counts`."""
        return {
            "recordings": len(self.wav_scp),
            "utterances": len(self.segments),
            "words": self.words,
            "hours": self.hours,
        }

    def write(self, path: Path) -> None:
        """Write the data directory. Raises EmptySet when there is no utterance."""
        for some, why in (
            (
                self.out_of_range,
                "that pass the end of their recording, or have no length",
            ),
            (self.duplicates, "whose ids others have, of which the first are kept"),
        ):
            if some:
                print(
                    f"WARNING: {path}: {len(some)} utterances left out {why}: "
                    f"{preview(some)}",
                    file=sys.stderr,
                )
        if not self.segments:
            raise EmptySet(f"{self.origin}: no utterance for {path.name} in it")
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
    text_of: Callable[[str], str] = lambda text: text,
) -> Utterances:
    """Utterances of a corpus' supervisions, of the first channel, if they have text.

    Args:
        origin: the corpus' directory, for error messages.
        utt_of: the utterance's id, which must start with its speaker's.
        speaker_of: the speaker's id.
        text_of: the utterance's text from the supervision's; "" leaves it out.

    Raises:
        DataError: see `Utterances.add`.
    """
    found = Utterances(origin)
    for part in supervisions:
        text = "" if part.text is None else " ".join(text_of(part.text).split())
        if not text:
            continue
        found.add(
            utt_of(part),
            recordings[part.recording_id],
            part.channel if isinstance(part.channel, int) else part.channel[0],
            part.start,
            part.end,
            speaker_of(part),
            text,
        )
    return found


def hundredths(start: float, end: float, digits: int = 7) -> str:
    """Times in hundredths of a second, as Kaldi's ids have them: "0004060-0004382"."""
    return f"{round(100 * start):0{digits}d}-{round(100 * end):0{digits}d}"
