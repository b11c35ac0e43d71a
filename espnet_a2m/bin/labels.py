"""Pseudo-labels for HuBERT: fit one k-means, and label sets with it.

  labels --fit_data dump/raw/train --data dump/raw/train dump/raw/dev \
      --output_dir exp/labels_mfcc
  labels --model_file exp/scorer_ctc/valid.loss.ave.pth --layer 3 \
      --fit_data dump/raw/train --data dump/raw/train dump/raw/dev \
      --output_dir exp/labels_layer3
  labels --kmeans exp/labels_mfcc/km.npz --data dump/raw/more --output_dir exp/more

Writes km.npz, and labels.scp, grid.json and labels.json in a folder for each set. Large
sets are divided between jobs, anywhere and in any order, once the k-means is fitted
(--fit_data without --data); the last command merges their tables:

  labels --kmeans exp/labels_mfcc/km.npz --nj 8 --job 1 --data ... --output_dir ...
  labels --kmeans exp/labels_mfcc/km.npz --nj 8 --data ... --output_dir ...
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.bin import import_quietly
from espnet_a2m.bin.jobs import add_job_options, job_command, parse_shard
from espnet_a2m.core.errors import UserError, main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    from espnet2.utils.types import str2bool

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    kmeans = parser.add_mutually_exclusive_group(required=True)
    kmeans.add_argument("--fit_data", help="Formatted data directory to fit on")
    fitted = (
        "km.npz of an earlier fit, or a k-means that scikit-learn has fitted on the "
    )
    fitted += "same features, saved by joblib (ESPnet, fairseq), to label only"
    kmeans.add_argument("--kmeans", help=fitted)
    trust = "Read scikit-learn's: a pickle, which can run any program [false]"
    option("--trust_checkpoint", type=str2bool, default=False, help=trust)
    option("--data", nargs="*", default=[], help="Data directories to label")
    option("--output_dir", required=True)
    option("--fs", type=int, default=16000, help="Sampling rate of MFCC, Hz [16000]")
    model = "Checkpoint of a pre-trained or an ASR model, in place of MFCC"
    option("--model_file", "--ssl_model_file", help=model)
    option("--layer", type=int, help="Its encoder layer, from 1")
    option("--num_clusters", type=int, default=500, help="[500]")
    option("--seed", type=int, default=0, help="[0]")
    hours = "Hours of --fit_data, drawn at random, to fit on; 0: all [0]"
    option("--fit_hours", type=float, default=0.0, help=hours)
    option("--max_passes", type=int, default=10, help="Over them, at most [10]")
    add_job_options(option)
    option("--ngpu", type=int, default=0, help="0: CPU, 1: GPU for the layer [0]")
    threads = "Threads on a CPU; MFCC is fastest with one [1]"
    option("--num_threads", type=int, default=1, help=threads)
    return parser


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        UserError: Names them.
    """
    if (args.model_file is None) != (args.layer is None):
        raise UserError("--model_file and --layer go together: give both or none")
    if args.nj > 1 and args.kmeans is None:
        raise UserError("--nj: fit the k-means first, then give it to jobs by --kmeans")
    names = [Path(directory).name for directory in args.data]
    if len(set(names)) < len(names):
        raise UserError(
            f"--data: {' '.join(args.data)}: two sets of one name would share a folder "
            "of --output_dir; label them in two calls (--kmeans)"
        )


def share_of(data: Path, fs: int, hours: float) -> float:
    """Share of a data directory's utterances that so many hours are.

    Raises:
        UserError: The hours are negative, or the directory does not tell its own.
    """
    from espnet_a2m.data.shards import iter_speech

    if hours == 0:
        return 1.0
    total = sum(seconds for *_, seconds in iter_speech(data, fs))
    if not total or not hours > 0:
        raise UserError(
            f"--fit_hours {hours:g} takes a positive number, and "
            f"{data}/utt2num_samples, which format_wav writes; 0 fits on all of it"
        )
    return min(1.0, 3600 * hours / total)


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Fit, then label each set; a second call resumes."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    args = get_parser().parse_args(words)
    check_args(args)
    shard = parse_shard(args)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    import torch

    from espnet_a2m.data.shards import LABELS, ShardedSet
    from espnet_a2m.labels.features import MFCC, Features
    from espnet_a2m.labels.fit import fit
    from espnet_a2m.labels.kmeans import KMeans
    from espnet_a2m.labels.label_set import label_shard, metadata, summarise_labels

    torch.set_num_threads(args.num_threads)
    device = "cpu"
    features: Features
    if args.model_file is None:
        features = MFCC(args.fs)
    else:
        import_quietly("espnet2.tasks.ssl")
        from espnet_a2m.labels.layer import LayerFeatures

        device = "cuda" if args.ngpu else "cpu"
        features = LayerFeatures(args.model_file, args.layer, device)

    output = Path(args.output_dir)
    if args.kmeans is not None:
        path = Path(args.kmeans)
        if path.is_file() and path.read_bytes()[:2] != b"PK":  # no npz
            kmeans = KMeans.load_sklearn(path, features, args.trust_checkpoint)
        else:
            kmeans = KMeans.load(path)
            kmeans.check_features(features, path)
    else:
        kmeans = fit(
            wav_scp=Path(args.fit_data) / "wav.scp",
            path=output / "km.npz",
            features=features,
            num_clusters=args.num_clusters,
            seed=args.seed,
            fraction=share_of(Path(args.fit_data), args.fs, args.fit_hours),
            max_passes=args.max_passes,
            device=device,
        )
    inertia = " ".join(f"{value:.5g}" for value in kmeans.inertia)
    print(f"k-means of {json.dumps(features.description)}: inertia by pass {inertia}")
    for directory in args.data:
        source, target = Path(directory), output / Path(directory).name
        start = time.perf_counter()
        labelled = 0
        if shard is None:
            labels = ShardedSet(source, target, LABELS, metadata(kmeans))
            labels.merge_shards(args.nj, job_command("labels", words))
        else:
            labelled = label_shard(source, target, kmeans, features, device, shard)
        if args.job is not None:
            print(f"job {args.job} of {args.nj} is done: {target}")
            continue
        rate = labelled / (time.perf_counter() - start)
        summary = summarise_labels(target, kmeans, features)
        print(
            "{}: {num_frames} frames, {classes_in_use} of {num_classes} classes, "
            "perplexity {perplexity:.1f}, mean run {mean_run_ms:.0f} ms, inertia per "
            "frame {inertia_per_frame:.5g}".format(target / "labels.scp", **summary)
            + (f", {rate:.0f} frames/s" if labelled else "")
        )


if __name__ == "__main__":
    main()
