"""Evaluate one model on one suite and write the evaluation JSON.

Follows the output of DCLM's `eval_openlm_ckpt.py`. Departs from it in writing the stem of the suite's YAML as `name`,
not the path on the evaluator's machine, in holding both versions of CORE and EXTENDED, and in dates: US/Pacific as
upstream where this machine knows time zones, UTC otherwise. Torch is imported when a model is loaded, not before.
"""

from __future__ import annotations

import importlib.util
import os
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpusmith.errors import InputError, missing_package
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.io.cache import cache_folder
from corpusmith.run.fingerprint import Tree
from corpusmith.run.progress import say
from corpusmith.text.tokenizers.load import GPT_NEOX
from eval.results.aggregation import ADDITIONAL_AGGREGATION, META_DATA, AggregationFacts, aggregate, load_facts
from eval.tasks.suites import Suite, find_suite, load_suite

if TYPE_CHECKING:
    from corpusmith.run.deciding_code import Entry
    from eval.models.language_model import LanguageModel
    from eval.results.intervals import Estimate
    from eval.results.items import TaskResult
    from eval.scoring.perplexity import HeldOut
    from eval.scoring.suite_run import Evaluation
    from eval.tasks.prompts import PromptTokenizer
    from training.models.openlm import Transformer
    from training.state.ranks import Ranks

_TIME_ZONE = "US/Pacific"
#: names a folder with a copy of the task files, laid out as in llm-foundry's `local_data`
DATA_VARIABLE = "CORPUSMITH_EVAL_DATA"


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is evaluated, on what, and where the result goes.

    Either `checkpoint`, an OpenLM checkpoint of ours or of others, or `hf_model`, a causal language model of
    transformers, by folder or name. `params_url` is the checkpoint's `params.txt` (default: that of its experiment),
    `model_config` a config name or JSON that wins over it. `tokenizer` is by default GPT-NeoX's, or the Hugging Face
    model's own. `eval_data` is a folder with task files, looked into first. `seed` replaces every task's few-shot seed;
    None keeps the YAML's. `model_name` is written as `model`; by default the stem of the model config or the model's
    name. `held_out` are the held-out sets whose loss is computed too; None computes none, and for Hugging Face models
    it must be None.
    """

    eval_yaml: str
    checkpoint: str | None = None
    hf_model: str | None = None
    hf_cache_dir: str | None = None
    tokenizer: str | None = None
    params_url: str | None = None
    model_config: str | None = None
    output_file: str | None = None
    eval_data: str | None = None
    seed: int | None = None
    device: str | None = None
    model_uuid: str | None = None
    model_name: str | None = None
    held_out: HeldOut | None = None
    max_batch_tokens: int | None = None
    meta_data: str = META_DATA
    additional_aggregation: str = ADDITIONAL_AGGREGATION

    @property
    def source(self) -> str:
        """The checkpoint or the Hugging Face model."""
        return str(self.hf_model or self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class EvaluationOutcome:
    """An evaluation JSON, its items by label, and by label why a task that has data could not be run."""

    document: dict[str, Any]
    results: dict[str, TaskResult]
    faults: dict[str, str]


def evaluate_checkpoint(request: EvaluationRequest, ranks: Ranks | None = None) -> EvaluationOutcome:
    """Run the suite; write the evaluation JSON to `output_file` and its items beside it, where one is given.

    Under torchrun every process calls this, and the first one writes. An output file that exists is updated: its uuid
    and creation date stay, its metrics are replaced as a whole. Tasks whose items are beside it already, of the same
    model, data and code, are not run again.

    Raises:
        InputError: a missing file, an unwritable output, a model without tokenizer.
        ConfigError: a fault in the suite's YAML.
        CorpusmithError: no task could be run.
    """
    if (request.checkpoint is None) == (request.hf_model is None):
        raise InputError("give either a checkpoint or a Hugging Face model (--hf-model)")
    if request.checkpoint is not None and not storage.exists(request.checkpoint):
        raise InputError(f"{request.checkpoint}: no such checkpoint")
    if request.hf_model is not None and request.held_out is not None:
        raise InputError("perplexity is computed for OpenLM checkpoints only")
    folders = data_folders(request)
    suite = load_suite(find_suite(request.eval_yaml), folders, request.seed)
    facts = load_facts(request.meta_data, request.additional_aggregation)
    previous = _previous(request.output_file)
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "eval")
    from eval.scoring.perplexity import perplexities
    from training.state.ranks import read_ranks

    ranks = ranks or read_ranks()
    loaded = _load(request, ranks)
    evaluation = _evaluate(request, loaded, suite, ranks)
    metrics: dict[str, Any] = {"icl": evaluation.icl}
    if request.held_out is not None and loaded.module is not None:
        metrics |= perplexities(loaded.module, request.held_out, folders, ranks)
    model = request.model_name or _model_name(request)
    document = evaluation_document(metrics, suite.name, model, facts, previous, request.model_uuid)
    if request.output_file is not None and ranks.leads:
        expdb.write_reference(document, request.output_file, overwrite=True)
    return EvaluationOutcome(document=document, results=evaluation.results, faults=evaluation.faults)


def data_folders(request: EvaluationRequest) -> list[str]:
    """Where task files are looked for, in this order: the folder given, the working directory, beside the suite, here,
    and what `corpusmith assets fetch` brought."""
    given = [folder for folder in (request.eval_data, os.environ.get(DATA_VARIABLE)) if folder]
    beside = storage.parent(find_suite(request.eval_yaml))
    here = str(Path(__file__).resolve().parent)
    return [*given, ".", beside, here, storage.join(cache_folder(), "local_data"), cache_folder()]


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A model with its tokenizer, and what made them; `module` where it is one of `training`."""

    model: LanguageModel
    tokenizer: PromptTokenizer
    loaders: tuple[Entry, ...]
    module: Transformer | None = None


def _load(request: EvaluationRequest, ranks: Ranks) -> _Loaded:
    """The model and its tokenizer, the tokenizer first: it fails faster."""
    from eval.models.openlm import OpenLMModel
    from eval.models.prompt_tokenizers import load_hugging_face_tokenizer, load_prompt_tokenizer
    from training.state.checkpoint import load_model

    device = request.device or str(ranks.device)
    if request.hf_model is not None:
        from eval.models.huggingface import load_hugging_face_model

        name = request.tokenizer or request.hf_model
        tokenizer = load_hugging_face_tokenizer(name, request.hf_cache_dir)
        return _Loaded(
            model=load_hugging_face_model(request.hf_model, device, request.hf_cache_dir),
            tokenizer=tokenizer,
            loaders=(load_hugging_face_model, load_hugging_face_tokenizer),
        )
    tokenizer = load_prompt_tokenizer(request.tokenizer or GPT_NEOX)
    module = load_model(
        str(request.checkpoint), params_url=request.params_url, model_config=request.model_config, device=device
    )
    return _Loaded(
        model=OpenLMModel(module, device),
        tokenizer=tokenizer,
        loaders=(OpenLMModel, load_model, load_prompt_tokenizer),
        module=module,
    )


def _evaluate(request: EvaluationRequest, loaded: _Loaded, suite: Suite, ranks: Ranks) -> Evaluation:
    """Run the tasks, recording each."""
    from eval.results.items import Records, items_folder
    from eval.scoring.suite_run import evaluate

    records = None
    if request.output_file is not None:
        records = Records(
            folder=items_folder(request.output_file),
            model=_identity(request),
            tokenizer=loaded.tokenizer.content_hash,
            loaders=loaded.loaders,
        )
    return evaluate(
        loaded.model,
        loaded.tokenizer,
        suite,
        records=records,
        ranks=ranks,
        max_batch_tokens=request.max_batch_tokens,
    )


def _identity(request: EvaluationRequest) -> Tree:
    """What tells that a model is the same as before: its files by size and time, or its name on the Hub."""
    source = request.source
    if request.checkpoint is not None:
        files = [storage.stat(source)]
    elif storage.is_dir(source):
        files = storage.list_files(source)
    else:
        files = []
    return {
        "files": [[storage.basename(file.url), file.size, file.etag] for file in files],
        "name": None if files else source,
        "config": request.model_config,
    }


def evaluation_document(
    metrics: Mapping[str, Any],
    suite: str,
    model: str,
    facts: AggregationFacts | None = None,
    previous: Mapping[str, Any] | None = None,
    model_uuid: str | None = None,
) -> dict[str, Any]:
    """The evaluation JSON of `metrics`, whose key `icl` has the accuracies in 0..1 by label.

    With `previous`, an older evaluation, its uuid, creation date and unknown keys stay and `update_date` is added.
    """
    moment = _pacific_now()
    old = dict(previous or {})
    document: dict[str, Any] = {
        "name": suite,
        "uuid": old.get("uuid") or expdb.new_uuid(),
        "model": model,
        "creation_date": old.get("creation_date") or moment,
    }
    if previous is not None:
        document["update_date"] = moment
    document["eval_metrics"] = dict(metrics)
    document |= aggregate(metrics["icl"], facts=facts)
    if model_uuid is not None:
        document["model_uuid"] = model_uuid
    return document | {key: value for key, value in old.items() if key not in document}


def summary_lines(document: Mapping[str, Any], estimates: Mapping[str, Estimate] | None = None) -> Sequence[str]:
    """What a person wants to read after an evaluation: accuracies, CORE and EXTENDED, in percent.

    With `estimates` (`eval.results.intervals`), each with its interval.
    """

    def percent(name: str, value: float) -> str:
        found = (estimates or {}).get(name)
        interval = "" if found is None else f"  ({100 * found.low:.2f} to {100 * found.high:.2f})"
        return f"{100 * value:6.2f} %{interval}"

    metrics: Mapping[str, Any] = document["eval_metrics"]
    icl: Mapping[str, float] = metrics["icl"]
    width = max(map(len, icl), default=0)
    lines = [f"  {label:<{width}}  {percent(label, accuracy)}" for label, accuracy in icl.items()]
    for name in ("Core", "Extended"):
        value = document[name]
        lines.append(f"  {name}: {percent(name, value) if isinstance(value, float) else _shorten(value)}")
    lines += [f"  {key}: {value:.4f} nats" for key, value in metrics.items() if isinstance(value, float)]
    return lines


def report_outcome(outcome: EvaluationOutcome) -> int:
    """Print an evaluation with 95 % intervals; returns the exit code: 1 where a task that has data could not be run."""
    from eval.results.intervals import intervals

    for line in summary_lines(outcome.document, intervals(outcome.results)):
        say(line)
    for label, fault in outcome.faults.items():
        say(f"  FAILED {label}: {fault}")
    return 1 if outcome.faults else 0


def _shorten(text: str, longest: int = 100) -> str:
    """A list of missing tasks can be long; the file has it in full."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def _previous(output_file: str | None) -> dict[str, Any] | None:
    """The evaluation that stands where the new one goes, if any; fails early where nothing can be written."""
    if output_file is None:
        return None
    if storage.exists(output_file):
        previous = storage.read_json(output_file)
        if not isinstance(previous, dict):
            raise InputError(f"{output_file}: exists and is not an evaluation JSON; remove it or choose another name")
        return previous
    storage.check_writable(storage.parent(output_file))
    return None


def _model_name(request: EvaluationRequest) -> str:
    """The Hugging Face model's name, or the stem of the model config: as given, or as `params.txt` says."""
    if request.hf_model is not None:
        local = storage.is_dir(request.hf_model)
        return storage.basename(request.hf_model.rstrip("/")) if local else request.hf_model
    config = request.model_config
    if config is None:
        experiment = storage.parent(storage.parent(request.source))
        url = request.params_url or storage.join(experiment, "params.txt")
        text = storage.read_bytes(url).decode("utf-8", "replace") if storage.exists(url) else ""
        lines = (line.partition(":") for line in text.splitlines())
        config = next((value.strip() for key, _, value in lines if key.strip() == "model"), "unknown")
    return storage.basename(config).removesuffix(".json")


def _pacific_now() -> str:
    """The present moment as evaluation JSONs write it."""
    try:
        zone: zoneinfo.ZoneInfo | Any = zoneinfo.ZoneInfo(_TIME_ZONE)
    except zoneinfo.ZoneInfoNotFoundError:
        zone = UTC
    return datetime.now(zone).strftime(expdb.DATE_FORMAT)
