"""Every kind of stage, planned as its command plans it, beside the modules from which its work starts."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

from baselines.core.mapper_table import MAPPERS
from baselines.core.steps import LocalStep
from corpusmith.imports import resolve
from corpusmith.io.tokens.shards import FORMATS
from corpusmith.mixture import Mixture, MixtureLine
from corpusmith.run.fingerprint import Tree
from corpusmith.steps.global_steps import GLOBAL_STEPS
from corpusmith.text.tokenizers.load import Tokenizer
from eval.models.openlm import OpenLMModel
from eval.results.items import Records
from eval.tasks.suites import Task
from raw_sources.common_crawl.columnar_index import IndexQuery
from raw_sources.common_crawl.columnar_index import plan_stage as plan_index
from raw_sources.extractors.registry import EXTRACTORS
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.run import fingerprint_of
from ray_processing.pipeline.stages import plan_local
from ray_processing.tokens.config import PartitionPlan, TokenConfig
from ray_processing.tokens.detokenize_stage import TokenizedData
from ray_processing.tokens.detokenize_stage import plan_stage as plan_detokenize
from ray_processing.tokens.stages import plan_run
from training.finetuning.examples import SftOptions
from training.finetuning.prepare import deciding
from training.state.checkpoint import load_model

MODELS = ("model.bin", "en.arpa.bin", "en.sp.model")
MIXTURE = Mixture(lines=[MixtureLine(source="web", proportion=1)])
TOKENS = TokenConfig(tokenizer_url="tokenizer.json", tokenizer_hash="0")
SOURCE = TokenizedData(
    url="x", tokenizer_url="y", tokenizer_hash="0", data_key="json.gz", sequence_length=None, dtype=""
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of stage: what plans it (`planner`, the module that asks for the versions), and where its work starts."""

    name: str
    planner: str
    entries: tuple[str, ...]
    fingerprint: Callable[[], Tree]


def all_kinds(folder: pathlib.Path) -> list[Kind]:
    """One kind for each module of mappers, each global step, extractor, token format, … ; `folder` is an empty one."""
    for name in MODELS:
        (folder / name).write_bytes(b"")
    (folder / "rows.jsonl").write_bytes(b"{}\n")
    return [*_local(folder), *_global(), *_ingests(), *_tokens(), *_others(folder)]


def _local(folder: pathlib.Path) -> Iterator[Kind]:
    worker = "baselines.core.shard_processor"
    functions = {reference.partition(":")[0]: name for name, reference in reversed(MAPPERS.items())}

    def kind(name: str, step: LocalStep, *entries: str) -> Kind:
        return Kind(
            name=f"local: {name}",
            planner="ray_processing.pipeline.stages",
            entries=(worker, *entries),
            fingerprint=lambda: plan_local((step,), 1, str(folder)).fingerprint,
        )

    for module, name in functions.items():
        yield kind(module.rpartition(".")[2], LocalStep(index=0, func=name), module)
    step = LocalStep(index=0, func="join_lines_modifier", aggregate={"text": {"type": "percentiles"}})
    yield kind("aggregates", step, "baselines.mappers.modifiers", "baselines.aggregators")


def _global() -> Iterator[Kind]:
    for name, step in GLOBAL_STEPS.items():
        config = resolve(step.config)(**({"key": "score", "keep_fraction": 0.5} if name == "quantile_filter" else {}))
        yield Kind(
            name=name,
            planner=step.plan.partition(":")[0],
            entries=(step.plan,),
            fingerprint=lambda step=step, config=config: resolve(step.plan)(config, "00-step").fingerprint,  # type: ignore[misc]
        )


def _ingests() -> Iterator[Kind]:
    for extractor, entry in EXTRACTORS.items():
        config = IngestConfig(extractor=extractor)
        yield Kind(
            name=f"ingest: {extractor}",
            planner="raw_sources.ingest.run",
            entries=("raw_sources.ingest.unit", entry),
            fingerprint=lambda config=config: fingerprint_of(config),  # type: ignore[misc]
        )


def _tokens() -> Iterator[Kind]:
    for format_name in FORMATS:
        for mixture in (None, MIXTURE):
            config = dataclasses.replace(TOKENS, format_name=format_name)
            stages = ("tokenize", "mix", "shuffle") if mixture else ("tokenize", "shuffle")
            for index, stage in enumerate(stages):
                yield Kind(
                    name=f"{stage} as {format_name}{' with a mixture' if mixture else ''}",
                    planner="ray_processing.tokens.stages",
                    entries=(f"ray_processing.tokens.{stage}",),
                    fingerprint=lambda config=config, mixture=mixture, index=index: (  # type: ignore[misc]
                        plan_run([], config, PartitionPlan(count=1), None, mixture, {}).stages[index].fingerprint
                    ),
                )


def _others(folder: pathlib.Path) -> Iterator[Kind]:
    module = "ray_processing.tokens.detokenize_stage"
    yield Kind(
        name="detokenize", planner=module, entries=(module,), fingerprint=lambda: plan_detokenize(SOURCE).fingerprint
    )
    module = "raw_sources.common_crawl.columnar_index"
    query = IndexQuery(hosts=("example.org",))
    yield Kind(name="index", planner=module, entries=(module,), fingerprint=lambda: plan_index(query).fingerprint)
    task = Task(label="x", data_url=str(folder / "rows.jsonl"), task_type="language_modeling", num_fewshot=(0,))
    records = Records(folder=str(folder), loaders=(OpenLMModel, load_model))
    yield Kind(
        name="evaluation",
        planner="eval.results.items",
        entries=("eval.scoring.task_run", "eval.models.openlm", "training.state.checkpoint"),
        fingerprint=lambda: records.fingerprint(task, 0),
    )
    module = "training.finetuning.prepare"
    options = SftOptions(input_files=(), output_dir=str(folder))
    tokenizer = cast(Tokenizer, SimpleNamespace(content_hash="0"))
    entries = ("training.finetuning.folders",)
    yield Kind(name="sft", planner=module, entries=entries, fingerprint=lambda: deciding(options, tokenizer, ()))


def code_of(fingerprint: Tree) -> dict[str, Any]:
    """The packages and VERSIONs in a fingerprint."""
    code: dict[str, Any] = fingerprint["code"]
    return code
