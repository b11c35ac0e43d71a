"""Word and character error rates, by sclite if it is installed, else by jiwer.

Both get the same tokens. As in ESPnet's ``asr.sh``, case is ignored, and ``<space>`` is
a character between words.

The tools agree on the number of errors but for rare utterances: jiwer minimises the
errors, sclite a cost of 4 for a substitution and 3 for a deletion or an insertion,
which can give one error more in a long, very wrong hypothesis. They may split the same
errors differently.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from espnet_a2m.core.errors import DataError, UserError, preview
from espnet_a2m.core.files import PathLike, write_atomic
from espnet_a2m.data.tables import iter_scp, join_utterances, read_scp

SPACE = "<space>"
# sclite drops these or reads them as markup (alternatives, comments, null words); their
# full-width forms are ordinary characters.
SPECIAL = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in ";{}*@\\"})
# An utterance id stands in parentheses at the end of its line.
SPECIAL_ID = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in "()"})
#: Correct tokens, substitutions, deletions and insertions of an utterance
Counts = list[int]


def find_sclite() -> str | None:
    """Path of sclite: in PATH, in $SCTK_ROOT/bin or from Debian's package ``sctk``."""
    root = os.environ.get("SCTK_ROOT", "/usr/lib/sctk")
    places = os.pathsep.join([f"{root}/bin", "/usr/lib/sctk/bin"])
    return shutil.which("sclite") or shutil.which("sclite", path=places)


def describe_tool(sctk: str = "auto") -> str:
    """Name of the tool that computes error rates: of ``auto``, sclite if installed."""
    if sctk == "auto" and (sclite := find_sclite()):
        return f"sclite ({sclite})"
    why = "as asked" if sctk == "none" else "sclite was not found"
    return f"jiwer {version('jiwer')} ({why})"


def tokens(text: str, unit: str) -> list[str]:
    """Tokens of a transcript: lower-case words, or characters and <space>."""
    words = text.lower().translate(SPECIAL).split()
    if unit == "word":
        return words
    return [SPACE if c == " " else c for c in " ".join(words)]


def read_pair(ref: PathLike, hyp: PathLike) -> tuple[dict[str, str], dict[str, str]]:
    """Transcripts of a reference and a hypothesis ``text``; lines may be empty.

    Raises DataError: the files have different utterances, or the reference no words.
    """
    tables = [(path, iter_scp(path, allow_empty=True)) for path in (ref, hyp)]
    fix = "decode this set (an empty hypothesis is a line with the utterance id alone)"
    refs, hyps = {}, {}
    for utt, row in join_utterances(tables, fix, same=True):
        refs[utt], hyps[utt] = row
    if not any(refs.values()):
        raise DataError(f"{ref}: all transcripts are empty")
    return refs, hyps


def write_trn(path: PathLike, texts: Mapping[str, list[str]]) -> None:
    """Write tokens in sclite's ``trn`` format: trn id -> tokens."""
    lines = (f"{' '.join(words)} ({key})".lstrip() for key, words in texts.items())
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def run_sclite(sclite: str, outdir: Path) -> tuple[dict[str, Counts], str]:
    """Counts of ``ref.trn`` and ``hyp.trn`` by trn id, and sclite's reports.

    Raises UserError: sclite failed.
    """
    command = [sclite, "-s", "-e", "utf-8", "-r", "ref.trn", "trn"]
    command += ["-h", "hyp.trn", "trn", "-i", "rm", "-o", "all", "stdout"]
    done = subprocess.run(command, cwd=outdir, capture_output=True, check=False)
    report = done.stdout.decode("utf-8", errors="replace")
    found = re.findall(
        r"^id: \((.*)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)$", report, re.M
    )
    if done.returncode or not found:
        raise UserError(
            f"{outdir}: {' '.join(command)} failed with status {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()[-500:]}; use --sctk none "
            "for jiwer"
        )
    return {key: list(map(int, counts)) for key, *counts in found}, report


def run_jiwer(
    refs: Mapping[str, list[str]], hyps: Mapping[str, list[str]]
) -> tuple[dict[str, Counts], str]:
    """Counts by trn id, and the alignments of utterances with errors."""
    import jiwer

    split = jiwer.Compose([jiwer.ReduceToListOfListOfWords(" ")])
    counts, lines = {}, []
    for key, words in refs.items():
        pair = " ".join(words), " ".join(hyps[key])
        output = jiwer.process_words(*pair, split, split)
        errors = (output.substitutions, output.deletions, output.insertions)
        counts[key] = [output.hits, *errors]
        alignment = jiwer.visualize_alignment(output, show_measures=False)
        lines.append(f"id: ({key})\n" + "".join(alignment.partition("REF:")[1:]))
    return counts, "".join(lines)


def percentages(counts: Mapping[str, Counts]) -> dict[str, float]:
    """The columns of ESPnet's result table, rates in percent."""
    corr, sub, dele, ins = np.array(list(counts.values())).T
    errors = sub + dele + ins
    words = int((corr + sub + dele).sum())
    parts = {"Corr": corr, "Sub": sub, "Del": dele, "Ins": ins, "Err": errors}
    rates = {name: float(100 * part.sum() / words) for name, part in parts.items()}
    wrong = float(100 * (errors > 0).mean())
    return {"Snt": len(counts), "Wrd": words, **rates, "S.Err": wrong}


def summary_table(row: Mapping[str, float]) -> str:
    """The line of totals as sclite prints it, for ESPnet's scripts to find."""
    rates = " ".join(f"{row[c]:5.1f}" for c in ("Corr", "Sub", "Del", "Ins", "Err"))
    return (
        "| SPKR   | # Snt # Wrd | Corr   Sub   Del   Ins   Err S.Err |\n"
        f"| Sum/Avg| {row['Snt']:5d} {row['Wrd']:5d} | {rates} {row['S.Err']:5.1f} |\n"
    )


def evaluate(
    ref: PathLike, hyp: PathLike, outdir: PathLike, unit: str, sctk: str = "auto"
) -> dict[str, float]:
    """Compute the error rates of a decoded set.

    Writes ``ref.trn``, ``hyp.trn``, ``result.txt`` (the tool's reports) and, last,
    ``result.json`` (totals, and [tokens, errors] of each utterance).

    Args:
        ref: Reference ``text``; ``utt2spk`` beside it names the speakers.
        hyp: Decoded ``text``.
        outdir: Where the files go.
        unit: ``word`` or ``char``.
        sctk: As of :func:`describe_tool`.

    Returns the columns of :func:`percentages`. Raises UserError where the sets differ,
    or the tool fails.
    """
    tool, sclite = describe_tool(sctk), find_sclite() if sctk == "auto" else None
    refs, hyps = read_pair(ref, hyp)
    utt2spk_file = Path(ref).parent / "utt2spk"
    utt2spk = read_scp(utt2spk_file) if utt2spk_file.exists() else {}
    ids = {u: f"{utt2spk.get(u, u)}-{u}".translate(SPECIAL_ID) for u in refs}
    if len(set(ids.values())) < len(ids):
        raise DataError(
            f"{utt2spk_file}: <speaker>-<utterance> is not unique; rename a speaker"
        )
    ref_tokens = {ids[utt]: tokens(text, unit) for utt, text in refs.items()}
    hyp_tokens = {ids[utt]: tokens(hyps[utt], unit) for utt in refs}
    out = Path(outdir)
    write_trn(out / "ref.trn", ref_tokens)
    write_trn(out / "hyp.trn", hyp_tokens)
    if sclite:
        counts, report = run_sclite(sclite, out)
        counted = {key: sum(c[:3]) for key, c in counts.items()}
        lost = [u for u, k in ids.items() if counted.get(k) != len(ref_tokens[k])]
        if lost:
            raise UserError(
                f"{out}: {tool} did not count all of {preview(lost)}; use --sctk none"
            )
        row = percentages(counts)
    else:
        counts, report = run_jiwer(ref_tokens, hyp_tokens)
        row = percentages(counts)
        report = summary_table(row) + report
    head = f"Error rates by {tool}, unit: {unit}\n\n"
    write_atomic(out / "result.txt", head + report)
    by_utt = {u: [sum(counts[k][:3]), sum(counts[k][1:])] for u, k in ids.items()}
    result = {"wer_tool": tool, "unit": unit, **row, "utterances": by_utt}
    write_atomic(out / "result.json", json.dumps(result, ensure_ascii=False) + "\n")
    return row
