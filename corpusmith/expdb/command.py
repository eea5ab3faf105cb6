"""`corpusmith expdb`: look into the experiment database; `tools/expdb.py` is the same command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from corpusmith.command import make_parser, run_command

#: columns on a terminal, where none are asked for
_DEFAULT_COLUMNS = {
    "models": ("name", "dataset_name", "hyperparameters.params", "hyperparameters.tokens", "failed", "uuid"),
    "datasets": ("name", "partition_key_1", "num_tokens", "size", "tokenizer", "uuid"),
    "evals": (
        *("model", "dataset_name", "hyperparameters.params", "hyperparameters.tokens", "Core_v2", "Extended_v2"),
        *("eval_metrics.icl.mmlu_fewshot", "name", "uuid"),
    ),
}


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments, spelt as in DCLM where it has them."""
    parser = make_parser(
        "corpusmith expdb",
        "Show a table of the experiment database, links resolved; write it as CSV, Markdown or a page; plot it.",
        "corpusmith expdb --table evals -f 'Core_v2>0.2' -c model -c Core_v2 --output_md cores.md --plot cores.svg",
    )
    parser.add_argument("--database_path", default="exp_data", help="folder of reference JSONs (exp_data)")
    parser.add_argument("--table", default="models", help="models, datasets, evals, … (models)")
    parser.add_argument(
        "-f",
        "--filter",
        action="append",
        metavar="CONDITION",
        help="column==value, column=regex, column>number (suffixes K, M, B, T), …; repeatable, all must hold",
    )
    parser.add_argument("-c", "--columns", action="append", metavar="COLUMN", help="a column to show; repeatable")
    parser.add_argument(
        "-l", "--leading_columns", action="append", metavar="REGEX", help="columns to show first; repeatable"
    )
    parser.add_argument("--sort_by", metavar="COLUMN", help="order by a column, the largest first")
    parser.add_argument("--max_rows", type=int, help="show no more rows than this")
    parser.add_argument("--max_colwidth", type=int, default=50, help="width of a column on the terminal (50)")
    parser.add_argument("--output_csv", help="write all asked-for columns to this file")
    parser.add_argument("--output_md", help="write the table as Markdown")
    parser.add_argument("--output_html", help="write a self-contained page with a grid that sorts and filters")
    parser.add_argument("--plot", metavar="FILE", help="draw a column against training compute (.png, .svg, .pdf)")
    parser.add_argument("--plot_column", default="Core_v2", help="the column to plot (Core_v2)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Load the table once, show it, and write what was asked for."""
    from dataclasses import replace

    from corpusmith.expdb import output as expdb_output
    from corpusmith.expdb.tables import View, load_table
    from corpusmith.io import storage
    from corpusmith.run.progress import say

    view = View(
        table=arguments.table,
        filters=tuple(arguments.filter or ()),
        columns=tuple(arguments.columns or ()),
        leading_columns=tuple(arguments.leading_columns or ()),
        sort_by=arguments.sort_by,
        max_rows=arguments.max_rows,
    )
    table = load_table(arguments.database_path, view)
    short = table
    if not view.columns and not view.leading_columns:
        wanted = [column for column in _DEFAULT_COLUMNS.get(view.table, ()) if column in table.columns]
        short = replace(table, columns=wanted or table.columns)
    say(expdb_output.to_text(short, arguments.max_colwidth))
    say(f"{len(table.rows)} rows, {len(table.columns)} columns")
    outputs: dict[str | None, Callable[[], str]] = {
        arguments.output_csv: lambda: expdb_output.to_csv(table),
        arguments.output_md: lambda: expdb_output.to_markdown(short),
        arguments.output_html: lambda: expdb_output.to_html(table, view.table),
    }
    for url, render in outputs.items():
        if url is not None:
            storage.write_bytes(url, render().encode("utf-8"))
            say(f"wrote {url}")
    if arguments.plot is not None:
        left_out = expdb_output.plot(table, arguments.plot_column, arguments.plot)
        for row in left_out:
            say(f"not plotted, without compute or {arguments.plot_column}: {row.get('model', row.get('name'))}")
        say(f"wrote {arguments.plot}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
