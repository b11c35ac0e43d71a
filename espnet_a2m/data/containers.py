"""What the header of an audio file promises, which decoders do not always check.

libsndfile takes a file that was cut off for a shorter one, and estimates the length of
an MP3 file that has no note of it.
"""

from __future__ import annotations

import os
import re
import struct
from typing import Any, BinaryIO, NamedTuple

#: Sizes of 32 bits from here on stand for "not known" (sox and ffmpeg into a pipe)
UNKNOWN_BYTES = 0x7FFF0000


class Layout(NamedTuple):
    """Of a file of chunks: the first one's place, bytes of a name, format of a size,
    whether it counts the chunk's header, alignment in bytes, the samples' chunk.
    """

    first: int
    name: int
    size: str
    counts_header: bool
    align: int
    samples: bytes


RIFF = Layout(12, 4, "<I", False, 2, b"data")
LAYOUTS = {
    **dict.fromkeys((b"RIFF", b"RF64", b"BW64"), RIFF),
    b"RIFX": RIFF._replace(size=">I"),
    b"FORM": Layout(12, 4, ">I", False, 2, b"SSND"),
    b"riff": Layout(40, 16, "<Q", True, 8, b"data"),  # Wave64
    b"caff": Layout(8, 4, ">Q", False, 1, b"data"),
}


class Claim(NamedTuple):
    """Places in a file, in bytes, by its header.

    Attributes:
        samples: Bytes of samples.
        end: Where they should end.
        rest: Where everything ends that the header explains, at most the file's end.
        size: The file's.
    """

    samples: int
    end: int
    rest: int
    size: int


def read_claim(stream: BinaryIO) -> Claim | None:
    """What the header of an uncompressed file says; None: nothing, or no such file."""
    file_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(1024)
    kind = head[:4]
    if kind in LAYOUTS:
        return _claim_of_chunks(stream, LAYOUTS[kind], file_bytes)
    sizes = _sphere_sizes(head) if head.startswith(b"NIST_1A") else None
    if kind in (b".snd", b"dns."):
        order: Any = "big" if kind == b".snd" else "little"
        begin, samples = (int.from_bytes(head[i : i + 4], order) for i in (4, 8))
        sizes = (begin, samples) if samples < UNKNOWN_BYTES else None
    if not sizes or not sizes[1]:
        return None
    end = sum(sizes)
    return Claim(sizes[1], end, min(end, file_bytes), file_bytes)


def _sphere_sizes(head: bytes) -> tuple[int, int] | None:
    """Bytes of a NIST SPHERE file's header and of its samples, if it says so."""
    fields = dict(re.findall(rb"^(\w+) -\w+ (\d+)", head, re.M))
    names = (b"sample_count", b"sample_n_bytes", b"channel_count")
    try:
        count, width, channels = (int(fields[name]) for name in names)
        return int(head.split(b"\n")[1]), count * width * channels
    except (IndexError, KeyError, ValueError):
        return None


def _claim_of_chunks(stream: BinaryIO, layout: Layout, size: int) -> Claim | None:
    at, end, samples, long_samples = layout.first, 0, 0, 0
    width = struct.calcsize(layout.size)
    unknown = UNKNOWN_BYTES if width == 4 else 1 << 62
    while at + layout.name + width <= size:
        stream.seek(at)
        name = stream.read(layout.name)[:4]
        length = struct.unpack(layout.size, stream.read(width))[0]
        begin = stream.tell()
        if not (name.isascii() and name.decode().isprintable()):
            break
        if name == b"ds64":  # sizes of 64 bits, RF64
            long_samples = int.from_bytes(stream.read(16)[8:], "little")
        length = max(0, length - (begin - at) * layout.counts_header)
        if name == layout.samples and not end:
            if length == 0xFFFFFFFF and long_samples:
                length = long_samples
            elif length >= unknown:
                return None
            samples, end = length, begin + length
        elif end and begin + length > size:
            break  # no chunk, though it begins like one
        at = begin + length + -(begin + length - layout.first) % layout.align
    return Claim(samples, end, min(at, size), size) if samples else None


def ogg_is_complete(stream: BinaryIO) -> bool:
    """Does an Ogg file end with a page that is complete and says end of stream?"""
    file_bytes = stream.seek(0, os.SEEK_END)
    begin = max(0, file_bytes - (1 << 16))  # more than the largest page
    stream.seek(begin)
    tail = stream.read()
    page = tail.rfind(b"OggS\0")
    header = tail[page : page + 27]
    if page < 0 or len(header) < 27:
        return False
    sizes = tail[page + 27 : page + 27 + header[26]]
    end = begin + page + 27 + header[26] + sum(sizes)
    return bool(header[5] & 4) and len(sizes) == header[26] and end <= file_bytes


def mp3_samples(stream: BinaryIO) -> int | None:
    """Samples a channel by the note in the first frame of an MP3, if there is one.

    Encoders write it, named Xing, Info or VBRI, where the bit rate varies.
    """
    stream.seek(0)
    head = stream.read(10)
    begin = 0
    if head[:3] == b"ID3":  # seven bits a byte
        begin = 10 + sum((b & 0x7F) << 7 * i for i, b in enumerate(head[:5:-1]))
    stream.seek(begin)
    frame = stream.read(4096)
    while frame[:1] == b"\0":  # padding behind the tag
        frame = frame.lstrip(b"\0") or stream.read(4096)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return None
    is_mpeg1, is_mono = frame[1] & 8, frame[3] >> 6 == 3
    samples = 1152 if is_mpeg1 else 576
    side = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    note = frame[4 + side :]
    if note[:4] in (b"Xing", b"Info") and note[7] & 1:
        return samples * int.from_bytes(note[8:12], "big")
    if frame[36:40] == b"VBRI":
        return samples * int.from_bytes(frame[50:54], "big")
    return None
