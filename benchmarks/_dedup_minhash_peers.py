"""What `_dedup_minhash.py` runs in the environments of peers: one task, whose CPU seconds it prints as JSON.

Uses nothing of ours. Words are split at white space for datatrove, in place of its spaCy tokenizer, which is many times
slower.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


class WhitespaceWords:
    """datatrove's interface of a word tokenizer over `str.split`."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def timed(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def read_texts(path: str) -> list[str]:
    with open(path) as file:
        texts: list[str] = json.load(file)
    return texts


def rensa(path: str, hashes: str, kind: str = "RMinHash") -> float:
    """Sign texts with rensa: 5-word shingles of white-space words, one update per text."""
    import rensa as package

    texts = read_texts(path)
    make = getattr(package, kind)

    def sign_all() -> None:
        for text in texts:
            words = text.split()
            minhash = make(num_perm=int(hashes), seed=1)
            minhash.update([" ".join(words[at : at + 5]) for at in range(max(len(words) - 4, 1))])
            minhash.digest()

    return min(timed(sign_all) for _ in range(2))


def datatrove_signatures(path: str) -> float:
    """Sign texts with datatrove: 14 x 8 hashes of 64 bits, its own normalization."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature(output_folder="/tmp", config=MinhashConfig())
    step.word_tokenizer = WhitespaceWords()
    texts = read_texts(path)

    def sign_all() -> None:
        for text in texts:
            shingles = step.get_shingles(text)
            if shingles.size:
                step.get_signature(shingles)

    return timed(sign_all)


def datatrove_dedup(folder: str) -> float:
    """Dedup the shards in `folder/in` by datatrove's four stages, one task and process each."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig()
    signature = MinhashDedupSignature(output_folder=f"{folder}/signatures", config=config)
    signature.word_tokenizer = WhitespaceWords()
    stages = [
        (1, [JsonlReader(f"{folder}/in"), signature]),
        (
            config.num_buckets,
            [MinhashDedupBuckets(f"{folder}/signatures", output_folder=f"{folder}/buckets", config=config)],
        ),
        (1, [MinhashDedupCluster(f"{folder}/buckets", output_folder=f"{folder}/remove", config=config)]),
        (
            1,
            [
                JsonlReader(f"{folder}/in"),
                MinhashDedupFilter(input_folder=f"{folder}/remove"),
                JsonlWriter(f"{folder}/out", compression="zstd"),
            ],
        ),
    ]

    def run() -> None:
        for number, (tasks, pipeline) in enumerate(stages):
            LocalPipelineExecutor(
                pipeline=pipeline, tasks=tasks, workers=1, logging_dir=f"{folder}/logs-{number}", skip_completed=False
            ).run()

    return timed(run)


TASKS: dict[str, Callable[..., float]] = {
    "rensa": rensa,
    "rensa-c": lambda path, hashes: rensa(path, hashes, "CMinHash"),
    "datatrove-signatures": datatrove_signatures,
    "datatrove-dedup": datatrove_dedup,
}

if __name__ == "__main__":
    print(json.dumps({"seconds": TASKS[sys.argv[1]](*sys.argv[2:])}))
