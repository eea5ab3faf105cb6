"""The report: numbers from the records, hostile text inert, missing parts tolerated, links followed."""

from __future__ import annotations

import json
import pathlib
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.report.command import main, write_report
from corpusmith.report.facts import funnel, read_run
from corpusmith.report.html import Html, Series, column_chart, el, escape, round_ticks
from corpusmith.report.lineage import CURVE_POINTS, read_training_log
from corpusmith.report.sections.distributions import bucket_label

LOCAL, DEDUP = "00-local-aaaaaaaa", "01-exact_dedup-bbbbbbbb"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe\x00\x1b[31m\ud800 &amp; \"'"


def write_json(path: pathlib.Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def local_record(unit: str, *, read: int, removed: int, unreadable: int = 0, text: str = "too short") -> dict[str, Any]:
    """A record of two steps: the first removes pages of ten tokens, the second adds a page by a split."""
    kept = read - unreadable - removed + 1
    errored = {"read": unreadable} if unreadable else {}
    tokens_in, tokens_out = 10 * (read - unreadable) + 100, 10 * (read - unreadable) + 100 - 10 * removed + 7
    first = {
        "step": "00-page_length_filter",
        "func": "page_length_filter",
        "arguments": {"min_length": 50, "length_type": "word"},
        "pages_in": read - unreadable,
        "pages_out": read - unreadable - removed,
        "removed": removed,
        "kept": read - unreadable - removed,
        "split": 0,
        "errors": 0,
        "tokens_removed": 10 * removed,
        "seconds": 1.5,
    }
    second = {
        "step": "01-splitter",
        "func": "mine.splitter",
        "arguments": {},
        "pages_in": read - unreadable - removed,
        "pages_out": kept,
        "removed": 0,
        "kept": read - unreadable - removed - 1,
        "split": 1,
        "errors": 0,
        "tokens_removed": 0,
        "seconds": 0.5,
    }
    sample = {"index": 4, "url": "http://a.example/", "text": text, "reason": "page_length_filter(min_length=50)"}
    return {
        "unit": unit,
        "identity": "x",
        "outputs": [{"name": unit, "bytes": 500, "checksum": "c", "records": kept}],
        "counts": {
            "read": read,
            "added": 1,
            "kept": kept,
            "removed": {"00-page_length_filter": removed} if removed else {},
            "errored": errored,
        },
        "details": {
            "steps": [first, second],
            "samples": {"00-page_length_filter": [{**sample, "index": index} for index in (4, 9, 11)]},
            "errors": {"read": [{"index": 2, "url": None, "error": "not JSON"}]} if unreadable else {},
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "histograms": {"tokens_in": [0, 0, 0, 5, 5], "tokens_out": [0, 0, 0, 0, 4]},
            "bytes_in": 1_000_000,
            "seconds": 3.0,
            "aggregates": {"01-splitter": {"language": {"en": 3, "de": 1}, "length": {"min": 1, "max": 4}}},
        },
    }


def dedup_record(unit: str, *, read: int, removed: int) -> dict[str, Any]:
    step = {"step": "02-exact_dedup", "func": "exact_dedup", "pages_in": read, "removed": removed, "errors": 0}
    return {
        "unit": unit,
        "identity": "y",
        "outputs": [{"name": unit, "bytes": 400, "checksum": "c", "records": read - removed}],
        "counts": {
            "read": read,
            "added": 0,
            "kept": read - removed,
            "removed": {"02-exact_dedup": removed},
            "errored": {},
        },
        "details": {"steps": [{**step, "pages_out": read - removed, "seconds": 0.25}], "seconds": 1.0},
    }


def make_run(base: pathlib.Path, text: str = "too short") -> pathlib.Path:
    """2 shards of 1000 pages: 300 removed as short, 10 unreadable, 2 added by splits, then 92 duplicates."""
    run = base / "run"
    records = run / "stages" / LOCAL / "records" / "part"
    write_json(
        records / "a.jsonl.zst.json", local_record("part/a.jsonl.zst", read=1000, removed=200, unreadable=10, text=text)
    )
    write_json(records / "b.jsonl.zst.json", local_record("part/b.jsonl.zst", read=1000, removed=100, text=text))
    records = run / "stages" / DEDUP / "records" / "part"
    write_json(records / "a.jsonl.zst.json", dedup_record("part/a.jsonl.zst", read=791, removed=91))
    write_json(records / "b.jsonl.zst.json", dedup_record("part/b.jsonl.zst", read=901, removed=1))
    total = {
        "read": 2000,
        "added": 2,
        "kept": 1600,
        "removed": {"00-page_length_filter": 300, "02-exact_dedup": 92},
        "errored": {"read": 10},
    }
    write_json(run / "ledger.json", {"total": total, "stages": [{"stage": LOCAL}, {"stage": DEDUP}]})
    write_json(
        run / "plan.json",
        {
            "seed": 17,
            "input": {"part/a.jsonl.zst": "1-2", "part/b.jsonl.zst": "3-4"},
            "stages": [{"name": "local"}, {"name": "exact_dedup"}],
        },
    )
    events: list[dict[str, Any]] = [
        {"event": "run", "state": "started", "versions": {"python": "3.11.9", "numba": "0.62"}},
        {"event": "stage", "stage": LOCAL, "state": "started", "units": 2},
        {"event": "stage", "stage": LOCAL, "state": "ended", "seconds": 4.0, "failures": []},
        {"event": "stage", "stage": DEDUP, "state": "started", "units": 2},
        {"event": "stage", "stage": DEDUP, "state": "ended", "seconds": 1.0, "failures": []},
        {"event": "run", "state": "finished"},
    ]
    lines = [json.dumps({"time": f"2026-01-02T03:04:0{second}Z", **event}) for second, event in enumerate(events)]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return base


class Reader(HTMLParser):
    """What a browser would see: the elements, their attributes, and the text without style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.pieces.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(base: pathlib.Path, exp_data: pathlib.Path | None = None) -> Reader:
    url = write_report(str(base), None if exp_data is None else str(exp_data))
    return Reader(pathlib.Path(url).read_text(encoding="utf-8"))


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_headline_numbers_are_the_sums_of_the_records(tmp_path: pathlib.Path) -> None:
    text = page_of(make_run(tmp_path / "demo")).text
    assert "Pages in 2,000 2 more by splits" in text
    assert "Pages kept 1,600 79.9%" in text  # 1600 of 2002
    assert "Pages removed 392 19.6%" in text
    assert "Set aside 10 0.5%" in text
    assert "Output 800 B from 2 MB" in text
    assert "Time 5.00 s 2 stages" in text
    assert "Throughput 0.4 MB/s 400 pages/s" in text
    assert "finished 2026-01-02 03:04:00 to 2026-01-02 03:04:05 (UTC)" in " ".join(text.split())


def test_funnel_follows_pages_and_tokens_through_all_stages(tmp_path: pathlib.Path) -> None:
    rows = funnel(read_run(str(make_run(tmp_path))))
    assert [(row.label, row.pages) for row in rows] == [
        ("input", 2000),
        ("read", 1990),
        ("00-page_length_filter", 1690),
        ("01-splitter", 1692),
        ("text rewritten, split or set aside in this stage", 1692),
        ("02-exact_dedup", 1600),
    ]
    # 10 * 990 + 100 and 10 * 1000 + 100 tokens in, 3000 removed, 7 more in each shard by rewriting
    assert [row.tokens for row in rows] == [20100, 20100, 17100, 17100, 17114, None]
    assert rows[3].added == 2
    assert [row.removed for row in rows] == [0, 0, 300, 0, 0, 92]


def test_examples_are_the_first_five_by_shard_and_index(tmp_path: pathlib.Path) -> None:
    step = read_run(str(make_run(tmp_path))).stages[0].steps["00-page_length_filter"]
    assert [(sample.shard, sample.index) for sample in step.samples] == [
        ("part/a.jsonl.zst", 4),
        ("part/a.jsonl.zst", 9),
        ("part/a.jsonl.zst", 11),
        ("part/b.jsonl.zst", 4),
        ("part/b.jsonl.zst", 9),
    ]


def test_named_values_are_summed_and_percentiles_are_not(tmp_path: pathlib.Path) -> None:
    step = read_run(str(make_run(tmp_path))).stages[0].steps["01-splitter"]
    assert step.values["language"] == {"en": 6, "de": 2}
    percentiles = dict.fromkeys(("min", "max", "median", "p25", "p75", "p90", "p95", "p99", "mean"), 1)
    record = local_record("c", read=1, removed=0)
    record["details"]["aggregates"] = {"01-splitter": {"length": percentiles, "bins": {"1.0": 2, "1.5": 3}}}
    write_json(tmp_path / "run" / "stages" / LOCAL / "records" / "c.json", record)
    values = read_run(str(tmp_path)).stages[0].steps["01-splitter"].values
    assert "bins" not in values
    assert values["length"] == {"min": 2, "max": 8}


def test_page_names_reasons_errors_versions_and_configuration(tmp_path: pathlib.Path) -> None:
    text = page_of(make_run(tmp_path)).text
    assert "removed by page_length_filter(min_length=50)" in text
    assert "min_length=50, length_type=word" in text
    assert "errors/read/" in text
    assert "not JSON" in text
    assert "numba 0.62" in text
    assert "seed 17" in text
    assert "The books balance." in text


def test_books_that_do_not_balance_are_told_claim_by_claim(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path)
    url = base / "run" / "stages" / LOCAL / "records" / "part" / "b.jsonl.zst.json"
    record = json.loads(url.read_text())
    record["counts"]["kept"] -= 1
    write_json(url, record)
    assert [check.claim for check in read_run(str(base)).checks() if not check.holds] == [
        f"{LOCAL}: read 2,000 + added 2 = kept 1,691 + removed 300 + set aside 10",
        f"{LOCAL}: kept 1,691 records and wrote 1,692",
        f"{DEDUP}: read 1,692 of the 1,691 records that the stage before kept",
    ]
    assert "The books do not balance." in page_of(base).text


def test_a_ledger_that_contradicts_the_records_is_told(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path)
    ledger = json.loads((base / "run" / "ledger.json").read_text())
    ledger["total"]["kept"] = 1601
    write_json(base / "run" / "ledger.json", ledger)
    broken = [check.claim for check in read_run(str(base)).checks() if not check.holds]
    assert broken == ["the ledger's total equals the sum of the shards' records"]


def test_the_same_run_gives_the_same_bytes(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path)
    first = pathlib.Path(write_report(str(base))).read_bytes()
    assert pathlib.Path(write_report(str(base))).read_bytes() == first


# --- hostile text ----------------------------------------------------------------------------------------------------


def test_hostile_page_text_is_shown_and_does_nothing(tmp_path: pathlib.Path) -> None:
    page = page_of(make_run(tmp_path, text=HOSTILE))
    assert not page.named("script")
    assert not page.named("img")
    assert all(str(attributes["href"]).startswith("#") for attributes in page.named("a"))
    assert not any(name.startswith("on") or name in ("src", "srcset") for _, all_ in page.elements for name in all_)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in page.text
    assert "U+202E gnp.exe U+0000 U+001B [31m U+D800 &amp; \"'" in page.text


def test_nothing_is_loaded_and_a_strict_policy_says_so(tmp_path: pathlib.Path) -> None:
    page = page_of(make_run(tmp_path))
    policies = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    assert [link["href"] for link in page.named("link")] == ["data:,"]


@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_stays_text(text: str) -> None:
    shown = el("p", text, title=text)
    page = Reader(shown)
    assert [name for name, _ in page.elements if name not in ("p", "span")] == []
    assert shown.encode()  # no lone surrogate is left
    assert not any(character in shown for character in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\x00\x1b\ufeff")


def test_only_html_is_left_as_it_is() -> None:
    assert el("b", Html("<i>"), "<i>") == "<b><i>&lt;i&gt;</b>"
    assert escape("a\u200bb") == 'a<span class="unseen">U+200B</span>b'
    assert (
        escape("\u200d\u0627\t\n") == "\u200d\u0627\t\n"
    )  # joiners, right-to-left letters and line ends belong to text


# --- charts ----------------------------------------------------------------------------------------------------------


def test_every_chart_has_a_name_for_those_who_cannot_see_it(tmp_path: pathlib.Path) -> None:
    exp_data = make_database(tmp_path)
    page = page_of(tmp_path / "demo", exp_data)
    charts = [svg for svg in page.named("svg") if svg.get("class")]
    assert charts
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in charts)


def test_columns_are_as_high_as_their_counts() -> None:
    chart = column_chart("t", "d", ["1", "2"], [Series(name="n", style="s", counts=[4, 1])])
    assert [rect["height"] for rect in Reader(chart).named("rect")] == ["100%", "25%"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0.0, 4.0, [0, 1, 2, 3, 4]), (3.91, 9.1, [2, 4, 6, 8, 10]), (2.0, 2.0, [2.0, 2.5])]
)
def test_ticks_are_round_and_enclose(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_any_span(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert ticks[0] <= low + 1e-9 * max(1, abs(low))
    assert ticks[-1] >= low + span - 1e-9 * max(1, abs(low) + span)
    assert 2 <= len(ticks) <= 7


def test_buckets_are_named_by_their_bounds() -> None:
    assert [bucket_label(index) for index in range(5)] == ["0", "1", "2–3", "4–7", "8–15"]


# --- missing parts ---------------------------------------------------------------------------------------------------


def test_a_run_that_has_just_begun_has_a_report(tmp_path: pathlib.Path) -> None:
    write_json(tmp_path / "run" / "plan.json", {"input": {}, "stages": []})
    text = page_of(tmp_path).text
    assert "not finished" in text
    assert "No stage has begun yet." in text


def test_a_half_done_run_tells_how_far_it_is(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path)
    (base / "run" / "stages" / DEDUP / "records" / "part" / "b.jsonl.zst.json").unlink()
    events = base / "run" / "events.jsonl"
    lines = events.read_text().splitlines()[:4]
    failed = {
        "event": "stage",
        "stage": DEDUP,
        "state": "ended",
        "seconds": 1.0,
        "failures": ["part/b: <b>no disk</b>"],
    }
    events.write_text("\n".join([*lines, json.dumps(failed), '{"torn": ']))
    (base / "run" / "ledger.json").unlink()
    text = page_of(base).text
    assert "failed 2026-01-02" in text
    assert "1 of 2" in text
    assert "part/b: <b>no disk</b>" in text
    assert "The run is not finished" in text


def test_records_without_details_still_give_the_books(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path)
    for url in base.glob("run/stages/*/records/part/*.json"):
        record = json.loads(url.read_text())
        write_json(url, {key: record[key] for key in ("unit", "counts", "outputs")})
    rows = funnel(read_run(str(base)))
    assert [(row.label, row.pages) for row in rows][:3] == [
        ("input", 2000),
        ("read", 1990),
        ("00-page_length_filter", 1690),
    ]
    assert "Pages kept 1,600" in page_of(base).text


@pytest.mark.parametrize(
    "details", [None, [], {"steps": 3, "samples": [], "errors": {"x": 1}, "histograms": {"tokens_in": "a"}}]
)
def test_odd_details_are_unknown_and_no_error(tmp_path: pathlib.Path, details: object) -> None:
    base = make_run(tmp_path)
    url = base / "run" / "stages" / DEDUP / "records" / "part" / "b.jsonl.zst.json"
    write_json(url, json.loads(url.read_text()) | {"details": details})
    assert "Pages in 2,000" in page_of(base).text


def test_a_folder_without_a_run_is_the_users_mistake(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "holds no run" in error
    assert not list(tmp_path.iterdir())


def test_command_writes_where_it_is_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "demo")
    output = tmp_path / "out" / "r.html"
    assert main([str(tmp_path / "demo") + "/", "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert output.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main([str(tmp_path / "demo"), "--exp-data-dir", str(tmp_path / "none")]) == 2


# --- what came of it -------------------------------------------------------------------------------------------------


def make_database(folder: pathlib.Path) -> pathlib.Path:
    """A run and its references: the raw source is missing, a second tokenized set belongs to other data."""
    base = make_run(folder / "demo")
    exp_data = folder / "exp_data"
    model_folder = folder / "models" / "m"
    write_json(
        exp_data / "datasets" / "untokenized" / "demo.json",
        {
            "uuid": "u-demo",
            "name": "demo",
            "dataset_url": f"{base}/processed_data/",
            "tokenized": False,
            "sources": [{"uuid": "u-lost", "name": "lost_crawl"}],
        },
    )
    for name, source in (("tok", "u-demo"), ("foreign_tokens", "u-foreign")):
        write_json(
            exp_data / "datasets" / "tokenized" / f"{name}.json",
            {
                "uuid": f"u-{name}",
                "name": name,
                "dataset_url": "x/",
                "tokenized": True,
                "num_tokens": 2049000,
                "tokenizer": "bpe.json",
                "sources": [{"uuid": source, "name": "s"}],
            },
        )
    hyperparameters = {"model": "open_lm_11m", "params": 11_000_000, "tokens": 2_000_000, "lr": 0.003}
    model = {
        "uuid": "u-model",
        "name": "m",
        "dataset_uuid": "u-tok",
        "dataset_name": "tok",
        "hyperparameters": hyperparameters,
        "results": [{"loss": 3.5, "unigram_loss": 6.25, "val_data": ["heldout"], "tokens": 4096}],
        "params_url": str(model_folder / "params.txt"),
    }
    write_json(exp_data / "models" / "m.json", model)
    broken = {
        "uuid": "u-broken",
        "name": "broken",
        "dataset_uuid": "u-tok",
        "failed": True,
        "error": "the loss became NaN",
    }
    write_json(exp_data / "failed_models" / "broken.json", broken)
    metrics = {"icl": {"copa": 0.5625, "piqa": 0.5}, "perplexity": 3.25}
    write_json(
        exp_data / "evals" / "evaluation_m_light.json",
        {
            "uuid": "u-eval",
            "name": "light",
            "model_uuid": "u-model",
            "eval_metrics": metrics,
            "Core_v2": 0.1234,
            "Extended_v2": "N/A due to missing tasks: ['boolq']",
        },
    )
    model_folder.mkdir(parents=True)
    rows = [{"step": step, "loss": 9.0 - step, "tokens": 10 * step, "tokens_per_second": 100.0} for step in range(4)]
    (model_folder / "train_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return exp_data


def test_links_are_followed_from_data_to_scores(tmp_path: pathlib.Path) -> None:
    text = page_of(tmp_path / "demo", make_database(tmp_path)).text
    assert "tokens 2,049,000 tokenizer bpe.json" in text
    assert "architecture open_lm_11m parameters 11 M" in text
    assert "Loss 9.000 at step 0, 6.000 at step 3" in text
    assert "heldout 3.5000 6.2500 2.7500 4,096" in text
    assert "CORE (v2) 0.1234" in text
    assert "N/A due to missing tasks ['boolq']" in text
    assert "copa 0.5625" in text
    assert "Training failed: the loss became NaN" in text
    assert "foreign_tokens" not in text


def test_a_link_that_leads_nowhere_is_shown_as_such(tmp_path: pathlib.Path) -> None:
    assert "lost_crawl link unresolved: u-lost" in page_of(tmp_path / "demo", make_database(tmp_path)).text


def test_a_token_set_in_the_runs_folder_that_names_no_source_is_shown(tmp_path: pathlib.Path) -> None:
    exp_data = make_database(tmp_path)
    row = {"uuid": "u-part", "name": "part_tokens", "tokenized": True, "num_tokens": 4098}
    reference = exp_data / "datasets" / "tokenized" / "part_tokens.json"
    write_json(reference, {**row, "dataset_url": f"{tmp_path}/demo/tokenized/part/", "sources": []})
    assert "Tokenized data set part_tokens uuid u-part" in page_of(tmp_path / "demo", exp_data).text
    write_json(reference, {**row, "dataset_url": f"{tmp_path}/demo/tokenized_too/", "sources": []})
    assert "part_tokens" not in page_of(tmp_path / "demo", exp_data).text


def test_an_unreadable_reference_becomes_a_note(tmp_path: pathlib.Path) -> None:
    exp_data = make_database(tmp_path)
    (exp_data / "models" / "other.json").write_text("{")
    text = page_of(tmp_path / "demo", exp_data).text
    assert "other.json" in text
    assert "tokenizer bpe.json" in text


def test_a_database_without_this_run_says_so(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path / "demo")
    assert "names this run's output" in page_of(base, tmp_path / "empty").text
    assert "What came of it" not in page_of(base).text


def test_a_long_log_is_thinned_by_means_and_a_repeated_step_counts_once(tmp_path: pathlib.Path) -> None:
    url = tmp_path / "train_log.jsonl"
    rows = [{"step": step, "loss": float(step % 2)} for step in range(2 * CURVE_POINTS)]
    lines = [json.dumps({"step": 0, "loss": 99.0}), "torn", *(json.dumps(row) for row in rows), '{"step": 5}']
    url.write_text("\n".join(lines))
    log = read_training_log(str(url))
    assert log is not None
    assert (log.lines, log.lines_per_point, len(log.points)) == (2 * CURVE_POINTS, 2, CURVE_POINTS)
    assert {point.loss for point in log.points} == {0.5}
    assert log.tokens_per_second is None
    assert read_training_log(str(tmp_path / "none.jsonl")) is None
