"""A compiled run of filters does to pages what its filters do one by one: pages in, removed and errors of each step."""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core.compiled import FilterRun, compile_steps
from baselines.core.factories import load_mapper_function
from baselines.core.mapper_table import MAPPERS
from baselines.core.steps import LocalStep, build_steps
from corpusmith.io.pages.shards import read_shard

PIECES = [
    *("the", "Of", "with,", "a", "1", "½", "#", "...", ". . .", "…", "•", "-", "*", "\n", "\n\n", "\u2003"),
    *("日本", "é", "lorem ipsum", "\ud800", "\x00", "K"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=30).map(lambda pieces: "".join(pieces) * 2),
    st.text(st.characters(codec=None, categories=None), max_size=60),
)
ODD_VALUES = st.sampled_from([None, 3, ["a", "b"], {"en": 0.5}, float("nan")])
RATIOS = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0])
COUNTS = st.sampled_from([0, 1, 2, 3, 5, 10, 50])


def steps_of(func: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.fixed_dictionaries({}, optional=arguments).map(lambda chosen: (func, chosen))


def with_required(
    func: str, required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.fixed_dictionaries(required, optional=optional).map(lambda chosen: (func, chosen))


BANLIST = st.lists(st.sampled_from(["the", "example", "net", "web", "a.", "#", "lorem"]), max_size=3)
FILTERS = st.one_of(
    steps_of("alphabetic_word_ratio_filter", max_ratio=RATIOS),
    steps_of("alphanumeric_char_ratio_filter", max_alnum_ratio=RATIOS),
    steps_of("bullet_count_filter", max_bullet_start_ratio=RATIOS),
    steps_of("ellipsis_count_filter", max_ellipsis_end_ratio=RATIOS),
    steps_of(
        "fineweb_quality_filter",
        line_punct_thr=RATIOS,
        line_punct_exclude_zero=st.booleans(),
        short_line_thr=RATIOS,
        short_line_length=COUNTS,
        char_duplicates_ratio=RATIOS,
        new_line_ratio=RATIOS,
    ),
    steps_of("github_extension_filter", filename_key=st.just("url")),
    steps_of("line_length_filter", length_type=st.sampled_from(["max", "avg", "sum"]), max_length=COUNTS),
    steps_of("massive_web_repetition_filters", skip_paragraph=st.booleans(), count_first=st.booleans()),
    with_required(
        "page_length_filter",
        {"length_type": st.sampled_from(["word", "line", "paragraph", "char"])},
        min_length=COUNTS,
        max_length=COUNTS,
    ),
    with_required(
        "page_length_filter",
        {"length_type": st.just("word"), "model": st.sampled_from(["fasttext", "uniseg", "split", "none"])},
        ignore_punctuation=st.booleans(),
        ignore_whitespace=st.booleans(),
    ),
    with_required(
        "repetition_filter",
        {"granularity": st.sampled_from(["line", "paragraph", "page", 1, 2, 3, 5, 11, -1]), "max_fraction": RATIOS},
        count_characters=st.booleans(),
        ngram_char_ratio=st.sampled_from(["most_common", "all", "none", None]),
        ignore_case=st.booleans(),
    ),
    steps_of("stop_word_filter", count_unique=st.booleans(), min_stop_word=COUNTS),
    steps_of("symbol_ratio_filter", max_symbol_to_word_ratio=RATIOS),
    steps_of("word_length_filter", min_length=COUNTS, max_length=COUNTS),
    with_required("word_removal_ratio_filter", {"prev_word_count_key": st.just("words")}, max_removed_ratio=RATIOS),
    with_required("substring_filter", {"banlist": BANLIST}, exact_word=st.booleans(), case_sensitive=st.booleans()),
    with_required(
        "url_substring_filter",
        {"banlist": BANLIST},
        exact_domain_match=st.booleans(),
        match_substrings=st.booleans(),
        ignore_chars=st.just(["www"]),
        case_sensitive=st.booleans(),
        num_banned_substrs=st.sampled_from([0, 1, 2]),
    ),
    with_required("language_filter", {"keep_languages": st.just(["en"]), "key": st.just("language")}),
    with_required("quality_filter", {"key": st.just("score")}, threshold=RATIOS, lower_better=st.booleans()),
)
PAGES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.one_of(TEXTS, TEXTS, TEXTS, ODD_VALUES),
        "url": st.one_of(
            st.sampled_from(["http://www.example.net/the?a", "HTTPS://web.Example:80", "//[", "net", ""]), ODD_VALUES
        ),
        "words": st.one_of(COUNTS, ODD_VALUES),
        "language": st.one_of(st.just({"en": 0.7}), ODD_VALUES),
        "score": st.one_of(RATIOS, ODD_VALUES),
    },
)


def local_steps(chosen: list[tuple[str, dict[str, Any]]]) -> tuple[LocalStep, ...]:
    return tuple(
        LocalStep(index=index, func=func, arguments=arguments) for index, (func, arguments) in enumerate(chosen)
    )


def one_by_one(steps: tuple[LocalStep, ...], page: dict[str, Any]) -> tuple[int, str | None]:
    """Where the page's way ends by the single mappers, and the error there."""
    for position, built in enumerate(build_steps(steps)):
        try:
            result = built.mapper(page)
        except Exception as error:  # noqa: BLE001 - as the page boundary does
            return position, f"{type(error).__name__}: {error}"
        if not result:
            return position, None
        assert result == [page]
        assert result[0] is page
    return -1, None


@given(st.lists(FILTERS, min_size=2, max_size=5), st.lists(PAGES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=400)
def test_a_compiled_run_equals_its_filters_one_by_one(
    chosen: list[tuple[str, dict[str, Any]]], pages: list[dict[str, Any]]
) -> None:
    steps = local_steps(chosen)
    (run,) = compile_steps(build_steps(steps))
    assert isinstance(run, FilterRun)
    for page in pages:
        before = copy.deepcopy(page)
        # a text of its own for either side, so that neither sees what the other computed
        other = {key: "".join(value) if isinstance(value, str) else value for key, value in before.items()}
        assert run.decide(page) == one_by_one(steps, other)
        assert repr(page) == repr(before)
    assert sum(run.stopped) + sum(run.failed) <= run.pages == len(pages)


def test_every_read_only_filter_is_tried_in_runs() -> None:
    read_only = {name for name in MAPPERS if getattr(load_mapper_function(name), "is_read_only", False)}
    tried = {"alphabetic_characters_to_tokens_filter"}  # needs a tokenizer; its decision is the single mapper's
    tried |= {name for name in read_only if f'"{name}"' in pathlib.Path(__file__).read_text()}
    assert read_only == tried
    filters = {name for name in MAPPERS if name.endswith(("_filter", "_filters"))}
    assert filters - read_only == {"random_sampling_filter"}


@pytest.mark.parametrize(
    "ender",
    [
        LocalStep(index=1, func="newline_removal_modifier"),
        LocalStep(index=1, func="word_counter_enricher"),
        LocalStep(index=1, func="random_sampling_filter"),
        LocalStep(index=1, func="symbol_ratio_filter", aggregate={"url": "histogram"}),
    ],
)
def test_what_changes_pages_draws_or_aggregates_ends_a_run(ender: LocalStep) -> None:
    filters = [LocalStep(index=index, func="symbol_ratio_filter") for index in (0, 2, 3)]
    plan = compile_steps(build_steps((filters[0], ender, *filters[1:])))
    assert [isinstance(part, FilterRun) for part in plan] == [False, False, True]


def test_the_time_of_a_run_is_apportioned_in_full() -> None:
    steps = local_steps(
        [("symbol_ratio_filter", {}), ("massive_web_repetition_filters", {}), ("bullet_count_filter", {})]
    )
    (run,) = compile_steps(build_steps(steps))
    assert isinstance(run, FilterRun)
    for number in range(70):
        run.decide({"text": f"words of a page {number} and more words of it\n" * 20})
    parts = run.apportioned_seconds()
    assert sum(parts) == pytest.approx(run.seconds)
    assert all(part >= 0 for part in parts)
    assert parts[1] == 0 or parts[0] > 0


def test_real_pages_go_the_same_way(shared_data: pathlib.Path) -> None:
    chosen: list[tuple[str, dict[str, Any]]] = [
        (
            "page_length_filter",
            {"length_type": "word", "min_length": 50, "max_length": 100000, "ignore_punctuation": True},
        ),
        ("word_length_filter", {"min_length": 3, "max_length": 10}),
        ("symbol_ratio_filter", {}),
        ("bullet_count_filter", {}),
        ("ellipsis_count_filter", {}),
        ("alphabetic_word_ratio_filter", {}),
        ("stop_word_filter", {}),
        ("massive_web_repetition_filters", {}),
    ]
    steps = local_steps(chosen)
    (run,) = compile_steps(build_steps(steps))
    assert isinstance(run, FilterRun)
    seen = 0
    for path in sorted((shared_data / "data" / "pages").glob("shard_*.jsonl.zst"))[::5]:
        for page in read_shard(str(path)):
            assert run.decide(page) == one_by_one(steps, {**page, "text": "".join([page["text"], ""])})
            seen += 1
    assert seen > 1000
    assert sum(run.stopped) > 100
