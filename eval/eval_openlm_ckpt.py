"""Evaluate one checkpoint on one suite: DCLM's script, with the flags that evaluation on task suites needs."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments, spelt as in DCLM."""
    parser = make_parser(
        "eval/eval_openlm_ckpt.py",
        "Evaluate a checkpoint on a suite of tasks and write the evaluation JSON.",
        "python eval/eval_openlm_ckpt.py --checkpoint logs/m/checkpoints/epoch_1.pt --config logs/m/params.txt "
        "--eval-yaml eval/sample.yaml --tokenizer tokenizer.json --output-file evaluation.json",
    )
    parser.add_argument("--checkpoint", required=True, help="the checkpoint, epoch_<n>.pt")
    parser.add_argument("--config", help="the checkpoint's params.txt; default: the one of its experiment")
    parser.add_argument("--model", help="model config, name or JSON; wins over params.txt")
    parser.add_argument("--eval-yaml", default="light.yaml", help="the suite of tasks (light.yaml)")
    parser.add_argument("--tokenizer", default="EleutherAI/gpt-neox-20b", help="name or path of the tokenizer")
    parser.add_argument("--output-file", default="output.json", help="the evaluation JSON; updated where it exists")
    parser.add_argument("--seed", type=int, help="few-shot seed of every task; default: the YAML's")
    parser.add_argument("--device", default="cpu", help="torch device (cpu)")
    parser.add_argument("--eval_meta_data", help="table of tasks, baselines and categories; default: ours")
    parser.add_argument("--additional_aggregation", help="JSON of named lists of tasks; default: ours")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write, and print the accuracies."""
    from corpusmith.run.progress import say
    from eval.aggregation import ADDITIONAL_AGGREGATION, META_DATA
    from eval.checkpoints import EvaluationRequest, evaluate_checkpoint, summary_lines

    request = EvaluationRequest(
        checkpoint=arguments.checkpoint,
        params_url=arguments.config,
        model_config=arguments.model,
        eval_yaml=arguments.eval_yaml,
        tokenizer=arguments.tokenizer,
        output_file=arguments.output_file,
        seed=arguments.seed,
        device=arguments.device,
        meta_data=arguments.eval_meta_data or META_DATA,
        additional_aggregation=arguments.additional_aggregation or ADDITIONAL_AGGREGATION,
    )
    for line in summary_lines(evaluate_checkpoint(request)):
        say(line)
    say(f"wrote {arguments.output_file}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
