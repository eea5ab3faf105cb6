"""Evaluate one checkpoint on one suite and write the evaluation JSON.

Follows the output of DCLM's `eval_openlm_ckpt.py`. Departs from it in writing the stem of the suite's YAML as `name`,
not the path on the evaluator's machine, in holding both versions of CORE and EXTENDED, and in dates: US/Pacific as
upstream where this machine knows time zones, UTC otherwise. Torch is imported when a checkpoint is loaded, not before.
"""

import importlib.util
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpusmith import expdb
from corpusmith.errors import InputError, missing_package
from corpusmith.io import storage
from corpusmith.text.tokenizer import GPT_NEOX, load_tokenizer
from eval.aggregation import ADDITIONAL_AGGREGATION, META_DATA, AggregationFacts, aggregate, load_facts
from eval.tasks import find_suite, load_suite

_TIME_ZONE = "US/Pacific"


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is evaluated, on what, and where the result goes.

    `params_url` is the checkpoint's `params.txt` (default: that of its experiment), `model_config` a config name or
    JSON that wins over it. `seed` replaces every task's few-shot seed; None keeps the YAML's. `model_name` is
    written as `model`; by default the stem of the model config.
    """

    checkpoint: str
    eval_yaml: str
    tokenizer: str = GPT_NEOX
    params_url: str | None = None
    model_config: str | None = None
    output_file: str | None = None
    seed: int | None = None
    device: str = "cpu"
    model_uuid: str | None = None
    model_name: str | None = None
    meta_data: str = META_DATA
    additional_aggregation: str = ADDITIONAL_AGGREGATION


def evaluate_checkpoint(request: EvaluationRequest) -> dict[str, Any]:
    """Run the suite and return the evaluation JSON; write it to `output_file` where one is given.

    An output file that exists is updated: its uuid and creation date stay, its metrics are replaced as a whole.

    Raises:
        InputError: a missing file, a malformed row, an unwritable output.
        ConfigError: a fault in the suite's YAML.
    """
    if not storage.exists(request.checkpoint):
        raise InputError(f"{request.checkpoint}: no such checkpoint")
    suite_url = find_suite(request.eval_yaml)
    data_dirs = (".", storage.parent(suite_url), str(Path(__file__).resolve().parent))
    suite = load_suite(suite_url, data_dirs, request.seed)
    facts = load_facts(request.meta_data, request.additional_aggregation)
    tokenizer = load_tokenizer(request.tokenizer)
    previous = _previous(request.output_file)
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "eval")
    from eval.harness import evaluate
    from eval.models import OpenLMModel
    from training.checkpoint import load_model

    module = load_model(
        request.checkpoint,
        params_url=request.params_url,
        model_config=request.model_config,
        device=request.device,
    )
    icl = evaluate(OpenLMModel(module, request.device), tokenizer, suite)
    model = request.model_name or _model_name(request)
    document = evaluation_document(icl, suite.name, model, facts, previous, request.model_uuid)
    if request.output_file is not None:
        expdb.write_reference(document, request.output_file, overwrite=True)
    return document


def evaluation_document(
    icl: Mapping[str, float],
    suite: str,
    model: str,
    facts: AggregationFacts | None = None,
    previous: Mapping[str, Any] | None = None,
    model_uuid: str | None = None,
) -> dict[str, Any]:
    """The evaluation JSON of accuracies `icl` in 0..1.

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
    document["eval_metrics"] = {"icl": dict(icl)}
    document |= aggregate(icl, facts=facts)
    if model_uuid is not None:
        document["model_uuid"] = model_uuid
    return document | {key: value for key, value in old.items() if key not in document}


def summary_lines(document: Mapping[str, Any]) -> Sequence[str]:
    """What a person wants to read after an evaluation: accuracies, CORE and EXTENDED, in percent."""
    icl: Mapping[str, float] = document["eval_metrics"]["icl"]
    width = max(map(len, icl), default=0)
    lines = [f"  {label:<{width}}  {100 * accuracy:6.2f} %" for label, accuracy in icl.items()]
    for name in ("Core", "Extended"):
        value = document[name]
        lines.append(f"  {name}: {100 * value:.2f} %" if isinstance(value, float) else f"  {name}: {_shorten(value)}")
    return lines


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
    """Stem of the model config: as given, or as `params.txt` says."""
    config = request.model_config
    if config is None:
        experiment = storage.parent(storage.parent(request.checkpoint))
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
