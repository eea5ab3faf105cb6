"""Runs in the peer's own environment: CPU seconds that datatrove's filters take over the pages of a JSONL file.

usage: python _datatrove_filters.py PAGES.jsonl white|own
Prints {"seconds", "kept"}. C4's rule about the number of sentences is off: its sentence splitter is another program's.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)


def main() -> None:
    path, words = sys.argv[1:]
    if words == "white":
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language=None: text.split()
    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=-1),
        FineWebQualityFilter(),
    ]
    with open(path, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]

    def run(documents: list[Document]) -> int:
        kept = 0
        for document in documents:
            for step in filters:
                result = step.filter(document)
                if (result[0] if isinstance(result, tuple) else result) is not True:
                    break
            else:
                kept += 1
        return kept

    run([Document(text=text, id="warm") for text in texts[:5]])
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    started = time.process_time()
    kept = run(documents)
    print(json.dumps({"seconds": time.process_time() - started, "kept": kept}))


main()
