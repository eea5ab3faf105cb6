"""`corpusmith eval`: evaluate models of the experiment database; `tools/eval_expdb.py` is the same command."""

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments, spelt as in DCLM."""
    parser = make_parser(
        "corpusmith eval",
        "Evaluate models of the experiment database and write one evaluation JSON each.",
        'corpusmith eval --filters "name==my_model" --eval_yaml eval/sample.yaml --output_dir exp_data/evals',
    )
    parser.add_argument("--database_path", default="exp_data", help="folder of reference JSONs (exp_data)")
    parser.add_argument("--table", default="models", help="table of models below the database (models)")
    parser.add_argument(
        "-f",
        "--filters",
        action="append",
        metavar="CONDITION",
        help="column==value, column=regex, column>number, …; repeatable, all must hold; default: every model",
    )
    parser.add_argument("--start_idx", type=int, default=0, help="first matching model to evaluate (0)")
    parser.add_argument("--end_idx", type=int, default=10, help="matching model to stop before (10)")
    parser.add_argument("--hf_model", help="in place of the database: a Hugging Face model, folder or name")
    parser.add_argument("--hf_cache_dir", help="cache of Hugging Face models; default: theirs")
    parser.add_argument("--output_dir", default=".", help="where evaluation JSONs go (.)")
    parser.add_argument("--eval_yaml", default="eval/light.yaml", help="the suite of tasks (eval/light.yaml)")
    parser.add_argument("--eval_data", help="folder of task files; default: CORPUSMITH_EVAL_DATA, then local_data")
    parser.add_argument("--tokenizer", help="name or path; default: the tokenizer of the model's data set")
    parser.add_argument("--no_skip", action="store_true", help="evaluate again where the output exists")
    parser.add_argument("--skip_perplexity", action="store_true", help="only the tasks, no loss on held-out sets")
    parser.add_argument(
        "--num_gpus", type=int, default=1, help="processes, one per GPU if there are any; 0 is the CPU (1)"
    )
    parser.add_argument("--max_batch_tokens", type=int, help="tokens of a batch; default: what memory allows")
    parser.add_argument("--prefix_replacement", metavar="OLD=NEW", help="where the checkpoints' URLs now begin")
    parser.add_argument("--checkpoint_replacement", metavar="FILE", help="another checkpoint of the same run")
    parser.add_argument("--seed", type=int, help="few-shot seed of every task; default: the YAML's")
    parser.add_argument("--eval_dir", help="accepted without effect: no scratch folder is needed")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the selected models."""
    from eval.database import ModelSelection, Settings, evaluate_hugging_face_model, evaluate_models

    settings = Settings(
        output_dir=arguments.output_dir,
        eval_yaml=arguments.eval_yaml,
        eval_data=arguments.eval_data,
        tokenizer=arguments.tokenizer,
        skip_existing=not arguments.no_skip,
        perplexity=not arguments.skip_perplexity,
        processes=arguments.num_gpus,
        max_batch_tokens=arguments.max_batch_tokens,
        seed=arguments.seed,
    )
    if arguments.hf_model is not None:
        return evaluate_hugging_face_model(arguments.hf_model, arguments.hf_cache_dir, settings).exit_code
    selection = ModelSelection(
        database_path=arguments.database_path,
        table=arguments.table,
        filters=tuple(arguments.filters or ()),
        start_idx=arguments.start_idx,
        end_idx=arguments.end_idx,
        prefix_replacement=arguments.prefix_replacement,
        checkpoint_replacement=arguments.checkpoint_replacement,
    )
    return max(done.exit_code for done in evaluate_models(selection, settings))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
