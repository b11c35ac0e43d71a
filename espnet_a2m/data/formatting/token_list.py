"""Make the token list, and for BPE its sentencepiece model, as ESPnet's asr.sh does.

Writes tokens.txt (<blank>, <unk>, ..., <sos/eos>) and for BPE bpe.model and bpe.vocab.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.tables import read_scp


def char_tokens(texts: list[str]) -> str:
    """The list of characters, most frequent first, as espnet2.bin.tokenize_text writes.

    That is not called: it asks the network for data of its text-to-speech tools.
    """
    from espnet2.text.char_tokenizer import CharTokenizer

    tokenizer = CharTokenizer()
    # most_common() keeps the order of appearance among equals, as ESPnet's sort does.
    counts = Counter(token for text in texts for token in tokenizer.text2tokens(text))
    characters = [token for token, _ in counts.most_common()]
    return "\n".join(["<blank>", "<unk>", *characters, "<sos/eos>"]) + "\n"


def train_bpe(texts: list[str], nbpe: int, outdir: Path) -> str:
    """Train sentencepiece, write its model and vocabulary, return the token list."""
    import sentencepiece

    model = io.BytesIO()  # sentencepiece does not notice that a disk is full
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=nbpe,
            model_type="unigram",
            character_coverage=1.0,
            input_sentence_size=100_000_000,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        problem = str(error).rpartition("] ")[2] or error  # behind a failed assertion
        raise DataError(
            f"--nbpe {nbpe}: sentencepiece says of {len(texts)} sentences with "
            f"{sum(map(len, texts))} characters: {problem}"
        ) from None
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [trained.id_to_piece(i) for i in range(len(trained))]
    lines = (f"{piece}\t{trained.get_score(i):g}\n" for i, piece in enumerate(pieces))
    write_atomic(outdir / "bpe.vocab", "".join(lines))
    write_atomic(outdir / "bpe.model", model.getvalue())
    pieces = [p for p in pieces if p not in ("<unk>", "<s>", "</s>")]
    return "\n".join(["<blank>", "<unk>", *pieces, "<sos/eos>"]) + "\n"


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--token_type", choices=("char", "bpe"), required=True)
    parser.add_argument("--nbpe", type=int, default=500, help="number of BPE pieces")
    parser.add_argument("--text", type=Path, required=True, help="Kaldi text file")
    parser.add_argument("--outdir", type=Path, required=True)
    args = parser.parse_args(argv)
    if args.nbpe < 1:
        raise DataError(f"--nbpe {args.nbpe}: expected a positive number")
    texts = list(read_scp(args.text).values())
    if args.token_type == "char":
        tokens = char_tokens(texts)
    else:
        tokens = train_bpe(texts, args.nbpe, args.outdir)
    write_atomic(args.outdir / "tokens.txt", tokens)
    print(f"{args.outdir}/tokens.txt: {len(tokens.splitlines())} tokens")
