"""Decode a set with ESPnet's asr_inference, in shards."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.files import file_digest
from espnet_a2m.data.shards import HYPOTHESES, Chunk, ShardedSet
from espnet_a2m.data.tables import Keys, iter_scp, join_utterances, write_table

#: At most: the model is loaded for each chunk
CHUNK_UTTERANCES = 200


def hypotheses(
    data: Path, output: Path, options: Sequence[str], num_shards: int
) -> ShardedSet:
    """The file ``text`` of a formatted set, to be written by `decode_chunk`.

    ``options`` are asr_inference's. Each of ``num_shards`` jobs gets something to do.
    """
    files = {word.rpartition("=")[2] for word in options}
    digests = {name: file_digest(name) for name in files if os.path.isfile(name)}
    metadata = {"options": list(options), "files": digests}
    per_job = len(Keys(data / "wav.scp")) / num_shards
    size = math.ceil(per_job / math.ceil(per_job / CHUNK_UTTERANCES))
    return ShardedSet(data, output, HYPOTHESES, metadata, size)


def decode_chunk(
    chunk: Chunk, stem: Path, wav_scp: Path, kind: str, options: Sequence[str]
) -> None:
    """Write the hypotheses of a chunk of a set to ``<stem>.text``.

    ``wav_scp`` is the table of the set, of ESPnet's type ``kind``; options are
    asr_inference's. Raises DataError: an utterance has no hypothesis.
    """
    from espnet2.bin.asr_inference import main

    with tempfile.TemporaryDirectory() as folder:
        keys, text = Path(folder, "keys"), Path(folder, "1best_recog", "text")
        keys.write_text("".join(f"{utt_id}\n" for utt_id in chunk.audio), "utf-8")
        stream = f"{wav_scp},speech,{kind}"
        command = [*options, "--data_path_and_name_and_type", stream]
        main([*command, "--key_file", str(keys), "--output_dir", folder])
        # an utterance in which nothing was recognised has an empty line
        found = [(wav_scp, chunk.audio.items()), (text, iter_scp(text, True))]
        rows = join_utterances(found, "see what asr_inference says")
        write_table(f"{stem}.text", {utt_id: words for utt_id, (_, words) in rows})
