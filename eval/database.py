"""Evaluate models of the experiment database, as DCLM's `tools/eval_expdb.py` does.

Departs from it in three ways: models are evaluated in this process, not by a script in a scratch folder that is deleted
and made again; a filter `column==value` is exact; without a tokenizer given, the one that the model's data set was
tokenized with is used.
"""

from dataclasses import dataclass
from typing import Any

from corpusmith import expdb
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.text.tokenizer import GPT_NEOX
from eval.checkpoints import EvaluationRequest, evaluate_checkpoint, summary_lines


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which models are evaluated on what.

    `filters` are conditions as `expdb.parse_filter` reads them; of the matching models, ordered by path, those from
    `start_idx` up to `end_idx` (exclusive) are taken. `skip_existing` leaves out models whose output is there.
    """

    database_path: str = "exp_data"
    table: str = "models"
    filters: tuple[str, ...] = ()
    start_idx: int = 0
    end_idx: int = 10
    output_dir: str = "."
    eval_yaml: str = "eval/light.yaml"
    tokenizer: str | None = None
    skip_existing: bool = True
    device: str = "cpu"
    seed: int | None = None


def evaluate_models(selection: Selection) -> list[str]:
    """Evaluate each selected model and return the URLs of all evaluation JSONs, those that stood already included.

    Raises:
        InputError: no model matches, or what `evaluate_checkpoint` refuses.
    """
    outputs = []
    for path, row in select_models(selection):
        output = output_url(selection, row["name"])
        outputs.append(output)
        if selection.skip_existing and storage.exists(output):
            say(f"{row['name']}: {output} exists, not evaluated again (--no_skip does)")
            continue
        request = _request(selection, path, row, output)
        say(f"{row['name']}: evaluating on {selection.eval_yaml}")
        for line in summary_lines(evaluate_checkpoint(request)):
            say(line)
        say(f"{row['name']}: wrote {output}")
    return outputs


def select_models(selection: Selection) -> list[tuple[str, dict[str, Any]]]:
    """The rows (path, object) of the table that fulfil all filters, without failed models.

    Raises:
        InputError: the table is empty or nothing matches.
    """
    filters = [expdb.parse_filter(text) for text in selection.filters]
    rows = expdb.read_table(selection.database_path, selection.table)
    if not rows:
        raise InputError(f"{storage.join(selection.database_path, selection.table)}: no models; see --database_path")
    matching = []
    for path, row in rows:
        flat = expdb.flatten(row) | {"_source_json": path}
        if all(condition.matches(flat) for condition in filters):
            if row.get("failed"):
                say(f"{path}: left out, its training failed")
            else:
                matching.append((path, row))
    taken = matching[selection.start_idx : selection.end_idx]
    if not taken:
        raise InputError(
            f"{len(matching)} of {len(rows)} models match {list(selection.filters)}, none of them at "
            f"{selection.start_idx}..{selection.end_idx}; check --filters, --start_idx and --end_idx"
        )
    if len(taken) < len(matching):
        say(f"{len(matching)} models match; taking those from {selection.start_idx} up to {selection.end_idx}")
    return taken


def output_url(selection: Selection, model_name: str) -> str:
    """Where a model's evaluation goes: `evaluation_<model name>_<yaml stem>.json`."""
    stem = storage.basename(selection.eval_yaml).rsplit(".", 1)[0]
    return storage.join(selection.output_dir, f"evaluation_{model_name.replace('/', '_')}_{stem}.json")


def _request(selection: Selection, path: str, row: dict[str, Any], output: str) -> EvaluationRequest:
    """What to evaluate for one row."""
    reference = expdb.load_model_reference(path)
    model = str(reference.hyperparameters.get("model", "unknown"))
    return EvaluationRequest(
        checkpoint=reference.checkpoint_url,
        params_url=reference.params_url,
        eval_yaml=selection.eval_yaml,
        tokenizer=selection.tokenizer or _tokenizer_of(selection, reference),
        output_file=output,
        seed=selection.seed,
        device=selection.device,
        model_uuid=row.get("uuid"),
        model_name=storage.basename(model).removesuffix(".json"),
    )


def _tokenizer_of(selection: Selection, reference: expdb.ModelReference) -> str:
    """The tokenizer of the model's data set; GPT-NeoX's where the link leads nowhere."""
    found = expdb.find_by_uuid(selection.database_path, "datasets", reference.dataset_uuid)
    return str((found[1].get("tokenizer") if found else None) or GPT_NEOX)


def choose_device(num_gpus: int) -> str:
    """`cuda` where a GPU is asked for and there is one, `cpu` otherwise.

    Raises:
        InputError: fewer than 0 or more than 1 asked for.
    """
    if num_gpus not in (0, 1):
        raise InputError(f"--num_gpus must be 0 or 1, got {num_gpus}: a model is evaluated in one process")
    if num_gpus == 0:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
