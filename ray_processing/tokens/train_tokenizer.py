"""`corpusmith train-tokenizer`: a byte-level BPE tokenizer from page shards, as a Hugging Face `tokenizer.json`.

Special tokens come first (`<|endoftext|>` 0, `<|padding|>` 1, then those asked for), then the 256 bytes, then what the
merges make; text is split as GPT-2 splits it and not normalised, so any text comes back from its tokens. Shards are
read in the order of their names, so equal pages give an equal file, whatever the number of threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.seeds import uniform

SPECIAL_TOKENS = ("<|endoftext|>", "<|padding|>")
LEAST_VOCABULARY = len(SPECIAL_TOKENS) + 256
EXAMPLE = "corpusmith train-tokenizer --input pages/processed_data --output tokenizer.json --vocab_size 4096"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerTraining:
    """What decides a tokenizer, apart from the pages: `sample_rate` of them is used, drawn by `seed`.

    `special_tokens` come after `SPECIAL_TOKENS`, in their order.
    """

    vocab_size: int
    content_key: str = "text"
    sample_rate: float = 1.0
    seed: int = 0
    special_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        special = self.all_special_tokens
        if len(set(special)) != len(special) or "" in special:
            raise InputError(f"--special_tokens must not be empty or repeat one of {' '.join(SPECIAL_TOKENS)}")
        least = LEAST_VOCABULARY + len(self.special_tokens)
        if self.vocab_size < least:
            raise InputError(f"--vocab_size must be at least {least} (special tokens and bytes), got {self.vocab_size}")
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"--sample_rate must lie in (0, 1], got {self.sample_rate}")

    @property
    def all_special_tokens(self) -> tuple[str, ...]:
        """The special tokens in the order of their ids, from 0."""
        return (*SPECIAL_TOKENS, *self.special_tokens)


@dataclass(kw_only=True, slots=True)
class _Seen:
    """What the training has read."""

    documents: int = 0
    skipped: int = 0


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith train-tokenizer`."""
    parser = make_parser("corpusmith train-tokenizer", "Train a byte-level BPE tokenizer on page shards.", EXAMPLE)
    parser.add_argument("--input", required=True, help="folder of page shards")
    parser.add_argument("--output", required=True, help="the tokenizer.json to write")
    parser.add_argument("--vocab_size", type=int, required=True, help="number of tokens, special ones included")
    parser.add_argument("--content_key", default="text", help="key of the page's text (default: %(default)s)")
    parser.add_argument("--sample_rate", type=float, default=1.0, help="share of the pages to use (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of that sample (default: %(default)s)")
    parser.add_argument("--special_tokens", nargs="+", default=[], help="more special tokens, by id from 2 on")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser


def train_tokenizer(folder: str, training: TokenizerTraining) -> tuple[bytes, int, int]:
    """Train on the pages below a folder.

    Args:
        folder: of page shards.
        training: what decides the tokenizer.

    Returns:
        The tokenizer.json, the documents used, the records without a text.

    Raises:
        InputError: there is no page with a text.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=training.vocab_size,
        special_tokens=list(training.all_special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    seen = _Seen()
    tokenizer.train_from_iterator(_texts(folder, training, seen), trainer)
    if not seen.documents:
        raise InputError(f"{folder}: no page with a text under {training.content_key!r} to train on")
    return tokenizer.to_str(pretty=True).encode() + b"\n", seen.documents, seen.skipped


def _texts(folder: str, training: TokenizerTraining, seen: _Seen) -> Iterator[str]:
    """The texts in order of shard name and record, sampled; records without a text are counted and passed over."""
    from corpusmith.io.pages.shards import list_shards, read_records

    for shard in list_shards(folder):
        for record in read_records(shard.url):
            text = None if record.page is None else record.page.get(training.content_key)
            if not isinstance(text, str):
                seen.skipped += 1
            elif uniform(training.seed, shard.name, record.index) < training.sample_rate:
                seen.documents += 1
                yield text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def run(arguments: argparse.Namespace) -> None:
    """Train and write the file."""
    if storage.exists(arguments.output) and not arguments.overwrite:
        raise InputError(f"{arguments.output} exists; pass --overwrite to replace it, or choose another name")
    training = TokenizerTraining(
        vocab_size=arguments.vocab_size,
        content_key=arguments.content_key,
        sample_rate=arguments.sample_rate,
        seed=arguments.seed,
        special_tokens=tuple(arguments.special_tokens),
    )
    content, documents, skipped = train_tokenizer(arguments.input, training)
    storage.write_bytes(arguments.output, content)
    from corpusmith.text.tokenizers.load import load_tokenizer

    made = load_tokenizer(arguments.output)
    short = "" if made.vocab_size == training.vocab_size else f" (fewer than {training.vocab_size}: too little text)"
    say(f"trained on {documents} documents, {skipped} records without a text passed over")
    say(f"  {made.vocab_size} tokens{short}: {arguments.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith train-tokenizer`."""
    return run_command(build_parser(), run, argv)
