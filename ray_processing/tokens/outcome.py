"""What a run of `corpusmith tokenize` leaves beside its shards: the format's index, the reference JSON, the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from corpusmith.expdb.references import DatasetReference, git_state, load_dataset, write_reference
from corpusmith.io import storage
from corpusmith.io.tokens import mds, wds
from corpusmith.mixture import MixtureReport, plan_mixture
from corpusmith.run.run import RunResult
from corpusmith.text.tokenizers.load import Tokenizer
from ray_processing.tokens.stages import TokenRun

DATA_KEYS = {"wds": "json.gz"}
INDEX_NAMES = {"wds": wds.MANIFEST_NAME, "mds": mds.INDEX_NAME}
MIXTURE_REPORT = "mixture.json"


@dataclass(frozen=True, kw_only=True)
class TokenTotals:
    """What the shards of a run hold together."""

    shards: int
    sequences: int
    tokens: int


def _by_shard(result: RunResult, key: str) -> dict[str, Any]:
    """What the records of the last stage tell of each shard, in order of the shards."""
    found = {name: value for record in result.records for name, value in record.details[key].items()}
    return dict(sorted(found.items()))


def totals_of(result: RunResult) -> TokenTotals:
    """The totals, from the records."""
    sequences = _by_shard(result, "sequences")
    return TokenTotals(
        shards=len(sequences), sequences=sum(sequences.values()), tokens=sum(_by_shard(result, "tokens").values())
    )


def finish_tokens(tokens: TokenRun, result: RunResult) -> DatasetReference:
    """Write what is lacking of index and reference; both are made anew after a run that worked."""
    output, reference_url = tokens.run.place.output, tokens.reference_url
    index = INDEX_NAMES.get(tokens.config.format_name)
    if index is not None and not (result.was_finished and storage.exists(storage.join(output, index))):
        if tokens.config.format_name == "wds":
            counts = _by_shard(result, "sequences")
            entries = [wds.ManifestEntry(shard=name, num_sequences=count) for name, count in counts.items()]
            wds.write_manifest(storage.join(output, index), entries)
        else:
            mds.write_index(output, _by_shard(result, "mds").values())
    report = mixture_report(tokens, result)
    if report is not None:
        storage.write_json(storage.join(tokens.run.place.root, MIXTURE_REPORT), report.to_json(), indent=2)
    if not result.was_finished or not storage.exists(reference_url):
        write_reference(_reference(tokens, result), reference_url, overwrite=True)
    return load_dataset(reference_url)


def mixture_report(tokens: TokenRun, result: RunResult) -> MixtureReport | None:
    """Requested and realised tokens of each source of the mixture, the latter summed from the records."""
    if tokens.mixture is None:
        return None
    available: dict[str, int] = {}
    realised: dict[str, int] = {}
    rows: dict[str, int] = {}
    for record in result.stages[1].records().values():
        details = record.details
        source = details["source"]
        available[source] = available.get(source, 0) + details["available_tokens"]
        realised[source] = realised.get(source, 0) + details["row_tokens"]
        rows[source] = rows.get(source, 0) + details["sequences"]
    unit = 1 if tokens.config.pack == "document" else tokens.config.sequence_length
    return MixtureReport(plans=plan_mixture(tokens.mixture, available, unit), realised=realised, rows=rows)


def _reference(tokens: TokenRun, result: RunResult) -> DatasetReference:
    commit_hash, diff = git_state()
    request, config = tokens.request, tokens.config
    files = storage.list_files(tokens.run.place.output)
    index = INDEX_NAMES.get(config.format_name)
    report = mixture_report(tokens, result)
    sampling = tokens.sampling.document if tokens.sampling is not None else None
    totals = totals_of(result)
    extra: dict[str, Any] = {
        "format": config.format_name,
        "num_sequences": totals.sequences,
        "sequence_length": config.sequence_length,
        "pack": config.pack,
        "seed": config.seed,
        "tokenizer_details": tokenizer_details(tokens.tokenizer),
    }
    if config.format_name in ("mds", "bin"):
        extra["dtype"] = config.dtype
    if report is not None:
        extra["mixture"] = report.to_json()
    return DatasetReference(
        name=request.name,
        dataset_url=tokens.dataset_url,
        manifest_url=None if index is None else tokens.dataset_url + index,
        sources=tokens.sources,
        tokenized=True,
        tokenizer=request.tokenizer,
        num_tokens=totals.tokens,
        size=sum(info.size for info in files),
        dcnlp_commit_hash=commit_hash,
        dcnlp_diff=diff,
        data_key=DATA_KEYS.get(config.format_name, config.format_name),
        sampling_yaml=sampling,
        note=_tokenizer_note(tokens.tokenizer),
        extra=extra,
    )


def tokenizer_details(tokenizer: Tokenizer) -> dict[str, Any]:
    """What training and evaluation must know of the tokenizer; `kind` tells the two meanings of GPT-NeoX apart."""
    return {
        "kind": tokenizer.kind,
        "eot_id": tokenizer.eot_id,
        "pad_id": tokenizer.pad_id,
        "vocab_size": tokenizer.vocab_size,
        "num_ids": tokenizer.num_ids,
        "content": tokenizer.content_hash,
    }


def _tokenizer_note(tokenizer: Tokenizer) -> str:
    """The same in one line (every reader of references knows the key `note`)."""
    details = tokenizer_details(tokenizer)
    return "tokenizer: " + " ".join(f"{key}={str(value).replace(' ', '-')}" for key, value in details.items())


def report_lines(tokens: TokenRun, result: RunResult) -> list[str]:
    """What the run did, for the terminal."""
    first, last = result.stages[0].counts(), result.stages[-1].counts()
    totals = totals_of(result)
    removed = sum(sum(stage.counts().removed.values()) for stage in result.stages)
    added = sum(stage.counts().added for stage in result.stages)
    sampled = f" - {removed} left out + {added} copies" if removed or added else ""
    length = tokens.config.sequence_length
    shape = f"of up to {length} tokens" if tokens.config.pack == "document" else f"of {length} tokens"
    report = mixture_report(tokens, result)
    return [
        "finished before; nothing was recomputed" if result.was_finished else "finished",
        f"  documents: {first.read} read{sampled} = {last.kept} tokenized + {sum(first.errored.values())} set aside",
        f"  sequences: {totals.sequences} {shape} = {totals.tokens} tokens in {totals.shards} shards",
        *(f"  {line}" for line in (report.table() if report is not None else [])),
        f"  data:      {tokens.dataset_url} ({tokens.config.format_name})",
        f"  reference: {tokens.reference_url}",
    ]
