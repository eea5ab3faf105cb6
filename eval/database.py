"""Evaluate models of the experiment database, as DCLM's `tools/eval_expdb.py` does.

Departs from it in four ways: there is no scratch folder that is deleted and made again; with one process, models are
evaluated in this one; a filter `column==value` is exact; without a tokenizer given, the one that the model's data set
was tokenized with is used.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpusmith.errors import CorpusmithError, InputError
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.text.tokenizers.load import GPT_NEOX
from eval.evaluate import EvaluationRequest, evaluate_checkpoint, report_outcome

SCRIPT = Path(__file__).resolve().with_name("eval_openlm_ckpt.py")


@dataclass(frozen=True, kw_only=True)
class ModelSelection:
    """Which models are evaluated.

    `filters` are conditions as `expdb.parse_filter` reads them; of the matching models, ordered by path, those from
    `start_idx` up to `end_idx` (exclusive) are taken. `prefix_replacement` OLD=NEW says where URLs that begin with OLD
    are now; `checkpoint_replacement` is the file name of another checkpoint of the same run.
    """

    database_path: str = "exp_data"
    table: str = "models"
    filters: tuple[str, ...] = ()
    start_idx: int = 0
    end_idx: int = 10
    prefix_replacement: str | None = None
    checkpoint_replacement: str | None = None

    def moved(self, url: str) -> str:
        """A URL after the replacement of its prefix."""
        if self.prefix_replacement is None:
            return url
        old, _, new = self.prefix_replacement.partition("=")
        return new + url.removeprefix(old) if url.startswith(old) else url


@dataclass(frozen=True, kw_only=True)
class Settings:
    """On what models are evaluated, how, and where results go; `skip_existing` leaves out those whose output is there.

    `processes` above 1 runs each model under torchrun, one process per GPU where there are GPUs; 0 is one process on
    the CPU.
    """

    output_dir: str = "."
    eval_yaml: str = "eval/light.yaml"
    eval_data: str | None = None
    tokenizer: str | None = None
    skip_existing: bool = True
    perplexity: bool = True
    processes: int = 1
    max_batch_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """Where an evaluation is, and its exit code: 1 where a task failed."""

    output: str
    exit_code: int = 0


def evaluate_models(selection: ModelSelection, settings: Settings) -> list[Done]:
    """Evaluate each selected model; those whose evaluation stood already are among the results.

    Raises:
        InputError: no model matches, or what `evaluate_checkpoint` refuses.
    """
    if settings.processes < 0:
        raise InputError(f"--num_gpus must be at least 0, got {settings.processes}")
    done = []
    for path, row in select_models(selection):
        output = output_url(settings, row["name"], selection.checkpoint_replacement)
        done.append(_evaluate(row["name"], _request(selection, settings, path, row, output), settings))
    return done


def evaluate_hugging_face_model(model: str, cache_dir: str | None, settings: Settings) -> Done:
    """Evaluate a model that no database knows.

    Raises:
        InputError: what `evaluate_checkpoint` refuses.
    """
    request = EvaluationRequest(
        hf_model=model,
        hf_cache_dir=cache_dir,
        eval_yaml=settings.eval_yaml,
        eval_data=settings.eval_data,
        tokenizer=settings.tokenizer,
        output_file=output_url(settings, storage.basename(model.rstrip("/"))),
        seed=settings.seed,
        max_batch_tokens=settings.max_batch_tokens,
    )
    return _evaluate(model, request, settings)


def select_models(selection: ModelSelection) -> list[tuple[str, dict[str, Any]]]:
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


def output_url(settings: Settings, model_name: str, checkpoint: str | None = None) -> str:
    """Where an evaluation goes: `evaluation_<model name>[_<checkpoint>]_<yaml stem>.json`."""
    stem = storage.basename(settings.eval_yaml).rsplit(".", 1)[0]
    between = f"_{checkpoint.removesuffix('.pt')}" if checkpoint else ""
    return storage.join(settings.output_dir, f"evaluation_{model_name.replace('/', '_')}{between}_{stem}.json")


def _evaluate(name: str, request: EvaluationRequest, settings: Settings) -> Done:
    """Evaluate one model, unless it is done."""
    output = str(request.output_file)
    if settings.skip_existing and storage.exists(output):
        say(f"{name}: {output} exists, not evaluated again (--no_skip does)")
        return Done(output=output)
    say(f"{name}: evaluating on {settings.eval_yaml}")
    many = settings.processes > 1
    code = _run_processes(request, settings) if many else report_outcome(evaluate_checkpoint(request))
    say(f"{name}: wrote {output}")
    return Done(output=output, exit_code=code)


def _run_processes(request: EvaluationRequest, settings: Settings) -> int:
    """The same under torchrun; returns its exit code where an evaluation came out."""
    flags = {
        "--checkpoint": request.checkpoint,
        "--hf-model": request.hf_model,
        "--hf-cache-dir": request.hf_cache_dir,
        "--config": request.params_url,
        "--eval-yaml": request.eval_yaml,
        "--eval_data": request.eval_data,
        "--tokenizer": request.tokenizer,
        "--output-file": request.output_file,
        "--seed": request.seed,
        "--max-batch-tokens": request.max_batch_tokens,
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(settings.processes), str(SCRIPT)]
    command += [part for flag, value in flags.items() if value is not None for part in (flag, str(value))]
    if request.held_out is None:
        command.append("--donot-compute-perplexity")
    elif request.held_out.downstream:
        command.append("--compute-downstream-perplexity")
    code = subprocess.run(command, check=False).returncode
    if code and not storage.exists(str(request.output_file)):
        raise CorpusmithError(f"{settings.processes} processes ended with exit code {code} and left no evaluation")
    # what only the database knows
    document = storage.read_json(str(request.output_file))
    known = {"model": request.model_name, "model_uuid": request.model_uuid}
    document |= {key: value for key, value in known.items() if value is not None}
    expdb.write_reference(document, str(request.output_file), overwrite=True)
    return code


def _request(
    selection: ModelSelection, settings: Settings, path: str, row: dict[str, Any], output: str
) -> EvaluationRequest:
    """What to evaluate for one row."""
    from eval.scoring.perplexity import HeldOut

    reference = expdb.load_model_reference(path)
    model = str(reference.hyperparameters.get("model", "unknown"))
    checkpoint = selection.moved(reference.checkpoint_url)
    if selection.checkpoint_replacement:
        checkpoint = storage.join(storage.parent(checkpoint), selection.checkpoint_replacement)
    return EvaluationRequest(
        checkpoint=checkpoint,
        params_url=selection.moved(reference.params_url),
        eval_yaml=settings.eval_yaml,
        eval_data=settings.eval_data,
        tokenizer=settings.tokenizer or _tokenizer_of(selection, reference),
        output_file=output,
        seed=settings.seed,
        device="cpu" if settings.processes == 0 else None,
        model_uuid=row.get("uuid"),
        model_name=storage.basename(model).removesuffix(".json"),
        held_out=HeldOut(downstream=True) if settings.perplexity else None,
        max_batch_tokens=settings.max_batch_tokens,
    )


def _tokenizer_of(selection: ModelSelection, reference: expdb.ModelReference) -> str:
    """The tokenizer of the model's data set; GPT-NeoX's where the link leads nowhere."""
    found = expdb.find_by_uuid(selection.database_path, "datasets", reference.dataset_uuid)
    return str((found[1].get("tokenizer") if found else None) or GPT_NEOX)
