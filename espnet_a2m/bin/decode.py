"""Decode a set with ESPnet's asr_inference; writes OUTDIR/text.

  decode --data dump/raw/test --outdir exp/asr/decode/test --config conf/decode.yaml \
      --asr_train_config exp/asr/config.yaml --asr_model_file exp/asr/valid.loss.ave.pth

All options but those below are given to espnet2.bin.asr_inference. A set is divided
between jobs, which may run at the same time and anywhere; each resumes when it is
started again. The last command merges their hypotheses:

  decode --nj 8 --job 1 ...    (and so on, to --job 8)
  decode --nj 8 ...
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.bin.jobs import add_job_options, job_command, parse_shard
from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Decode ``--data`` into ``--outdir``; a second call resumes."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # ESPnet's options are not ours
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, help="Formatted data directory")
    option("--outdir", type=Path, required=True)
    option("--type", default="sound", help="ESPnet's type of wav.scp [sound]")
    add_job_options(option)
    words = list(sys.argv[1:] if cmd is None else cmd)
    words = [word for word in words if word != "--"]  # it may set ESPnet's options off
    args, options = parser.parse_known_args(words)
    shard = parse_shard(args)
    os.environ["OMP_NUM_THREADS"] = "1"  # the jobs are the threads; before torch
    from espnet_a2m.evaluation.decode import decode_chunk, hypotheses

    text = hypotheses(args.data, args.outdir, options, args.nj)
    if shard is None:
        text.merge_shards(args.nj, job_command("decode", words))
    else:
        wav_scp = args.data / "wav.scp"
        text.write_shard(
            lambda chunk, stem, _: decode_chunk(
                chunk, stem, wav_scp, args.type, options
            ),
            shard,
        )
    if args.job is None:
        print(f"decoded {args.data}: {args.outdir / 'text'}")
    else:
        print(f"job {args.job} of {args.nj} is done: {args.outdir}")


if __name__ == "__main__":
    main()
