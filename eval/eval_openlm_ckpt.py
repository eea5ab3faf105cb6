"""Evaluate one model on one suite: DCLM's script, alone or under torchrun."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command

_WITHOUT_EFFECT = "accepted without effect"


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments, spelt as in DCLM."""
    parser = make_parser(
        "eval/eval_openlm_ckpt.py",
        "Evaluate a model on a suite of tasks and write the evaluation JSON.",
        "torchrun --nproc-per-node 2 eval/eval_openlm_ckpt.py --checkpoint logs/m/checkpoints/epoch_1.pt "
        "--config logs/m/params.txt --eval-yaml eval/heavy.yaml --output-file evaluation.json",
    )
    parser.add_argument("--checkpoint", help="the checkpoint, epoch_<n>.pt")
    parser.add_argument("--config", help="the checkpoint's params.txt; default: the one of its experiment")
    parser.add_argument("--model", help="model config, name or JSON; wins over params.txt")
    parser.add_argument("--hf-model", help="in place of a checkpoint: a Hugging Face model, folder or name")
    parser.add_argument("--hf-cache-dir", help="cache of Hugging Face models; default: theirs")
    parser.add_argument("--eval-yaml", default="light.yaml", help="the suite of tasks (light.yaml)")
    parser.add_argument("--eval_data", help="folder of task files; default: CORPUSMITH_EVAL_DATA, then local_data")
    parser.add_argument("--tokenizer", help="default: EleutherAI/gpt-neox-20b, or the Hugging Face model's own")
    parser.add_argument("--output-file", default="output.json", help="the evaluation JSON; updated where it exists")
    parser.add_argument("--seed", type=int, help="few-shot seed of every task; default: the YAML's")
    parser.add_argument("--device", help="torch device; default: a GPU per process if there is one")
    parser.add_argument("--max-batch-tokens", type=int, help="tokens of a batch; default: what memory allows")
    parser.add_argument("--donot-compute-perplexity", action="store_true", help="only the tasks")
    parser.add_argument("--val-data", help="reference, manifest or shard in place of DCLM's validation shard")
    parser.add_argument("--val-data-key", help="data key of its members; default: what the reference says")
    parser.add_argument("--compute-paloma-perplexity", action="store_true", help="the loss on Paloma's sets too")
    parser.add_argument("--compute-downstream-perplexity", action="store_true", help="the loss on the tasks' texts too")
    parser.add_argument("--eval_meta_data", help="table of tasks, baselines and categories; default: ours")
    parser.add_argument("--additional_aggregation", help="JSON of named lists of tasks; default: ours")
    for flag in ("--use-temp-working-dir", "--force-xformers", "--distributed"):
        parser.add_argument(flag, action="store_true", help=_WITHOUT_EFFECT)
    for flag in ("--preset-world-size", "--val-max-pop-ci", "--val-iter-ci"):
        parser.add_argument(flag, type=int, help=_WITHOUT_EFFECT)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write, and print the accuracies."""
    from corpusmith.run.progress import say
    from eval.evaluate import EvaluationRequest, evaluate_checkpoint, report_outcome
    from eval.results.aggregation import ADDITIONAL_AGGREGATION, META_DATA
    from eval.scoring.perplexity import HeldOut
    from training.state.ranks import process_group, read_ranks

    held_out = HeldOut(
        validation=arguments.val_data,
        data_key=arguments.val_data_key,
        paloma=arguments.compute_paloma_perplexity,
        downstream=arguments.compute_downstream_perplexity,
    )
    request = EvaluationRequest(
        checkpoint=arguments.checkpoint,
        hf_model=arguments.hf_model,
        hf_cache_dir=arguments.hf_cache_dir,
        params_url=arguments.config,
        model_config=arguments.model,
        eval_yaml=arguments.eval_yaml,
        eval_data=arguments.eval_data,
        tokenizer=arguments.tokenizer,
        output_file=arguments.output_file,
        seed=arguments.seed,
        device=arguments.device,
        held_out=None if arguments.donot_compute_perplexity or arguments.hf_model else held_out,
        max_batch_tokens=arguments.max_batch_tokens,
        meta_data=arguments.eval_meta_data or META_DATA,
        additional_aggregation=arguments.additional_aggregation or ADDITIONAL_AGGREGATION,
    )
    ranks = read_ranks()
    with process_group(ranks):
        outcome = evaluate_checkpoint(request, ranks)
    if not ranks.leads:
        return 0
    code = report_outcome(outcome)
    say(f"wrote {arguments.output_file}")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
