"""Prompts: which rows are shown, what the text is, which tokens are scored (worked examples of llm-foundry)."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import InputError
from eval.models.prompt_tokenizers import HuggingFacePromptTokenizer, load_prompt_tokenizer
from eval.tasks import prompts
from eval.tasks.prompts import ALL_ROWS, PromptTokenizer, ScoredInput, Share
from eval.tasks.suites import (
    GenerationRow,
    LanguageModelingRow,
    MultipleChoiceRow,
    Row,
    SchemaRow,
    Task,
    load_suite,
    read_rows,
)
from tests.eval.making import write_tokenizer

ANIMALS: list[Row] = [
    MultipleChoiceRow("Question: Which one barks?", ("a dog", "a trout"), 0),
    MultipleChoiceRow("Question: Which one swims?", ("a hawk", "a carp"), 1),
    MultipleChoiceRow("Question: Which one flies?", ("a wren", "a mole"), 0),
]
LINES: list[Row] = [
    LanguageModelingRow("The sun rises in the", "east"),
    LanguageModelingRow("Two and two make", "four"),
]
SCHEMAS: list[Row] = [
    SchemaRow(("Ann beat Bea because Ann", "Ann beat Bea because Bea"), "was faster.", 0),
    SchemaRow(
        ("The cup fell off the tray since the tray", "The cup fell off the tray since the cup"), "was tilted.", 0
    ),
]
SUMS = [
    GenerationRow("Tom has 2 pens and buys 3. How many?", "5", ("five",), "2 plus 3 is 5."),
    GenerationRow("Half of 8?", "4", (), "8/2 = 4."),
]


class CharacterTokenizer:
    """Each character is its code point; nothing needs a prefix space."""

    num_ids = 128
    eot_id = 0
    content_hash = "characters"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(character) for character in text] for text in texts]

    encode_starts = encode_batch

    def decode_new(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def flat(
    task: Task, rows: Sequence[Row], tokenizer: PromptTokenizer, shots: int, share: Share = ALL_ROWS
) -> list[ScoredInput]:
    return [item for row in prompts.scored_rows(task, rows, tokenizer, shots, share) for item in row]


def task(kind: str, **changes: object) -> Task:
    values: dict[str, object] = {"label": "t", "data_url": "t.jsonl", "task_type": kind, "num_fewshot": (1,)}
    return Task(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def neox(shared_data: Path) -> PromptTokenizer:
    path = shared_data / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"
    if not path.exists():
        pytest.skip("needs the tokenizer.json of GPT-NeoX in the sample data")
    pytest.importorskip("tokenizers")
    return load_prompt_tokenizer(str(path))


@pytest.mark.parametrize(
    ("size", "shots", "expected"),
    [
        (20, 3, [[2, 3, 14], [3, 18, 2], [0, 11, 7], [0, 11, 19]]),
        (
            100,
            10,
            [
                [99, 4, 74, 11, 10, 12, 14, 85, 56, 88],
                [98, 3, 2, 44, 45, 78, 79, 82, 61, 30],
                [64, 1, 59, 11, 14, 19, 23, 91, 62, 31],
                [65, 69, 5, 8, 74, 11, 76, 85, 86, 59],
            ],
        ),
        (
            5000,
            10,
            [
                [4769, 742, 806, 957, 687, 1939, 2905, 3610, 61, 286],
                [1216, 129, 937, 747, 142, 2835, 3797, 1499, 252, 3966],
                [3816, 528, 4432, 561, 3987, 119, 728, 4121, 2046, 4927],
                [2208, 516, 3940, 2182, 4743, 2477, 4558, 376, 4219, 2910],
            ],
        ),
        (3, 10, [[1, 2], [0, 2], [0, 1]]),
    ],
)
def test_fewshot_rows_and_their_order_are_upstreams(size: int, shots: int, expected: list[list[int]]) -> None:
    generator = random.Random(1234)
    assert [prompts.fewshot_indices(generator, size, index, shots) for index in range(len(expected))] == expected


@given(size=st.integers(1, 30), shots=st.integers(0, 12), seed=st.integers(0, 5))
def test_a_row_is_never_shown_before_itself(size: int, shots: int, seed: int) -> None:
    generator = random.Random(seed)
    for index in range(size):
        shown = prompts.fewshot_indices(generator, size, index, shots)
        assert index not in shown
        assert len(set(shown)) == len(shown) == min(size - 1, shots)
        assert all(0 <= other < size for other in shown)


def test_multiple_choice_tokens_are_the_worked_example(neox: PromptTokenizer) -> None:
    inputs = flat(task("multiple_choice", continuation_delimiter="\nAnswer: "), ANIMALS, neox, 1)
    first = inputs[0]
    text = "Question: Which one swims?\nAnswer: a carp\nQuestion: Which one barks?\nAnswer: a dog"
    assert neox.decode_new(first.tokens) == text
    assert first.tokens == [
        23433, 27, 6758, 581, 10831, 84, 32, 187, 32869, 27, 247, 26918, 187, 23433, 27, 6758, 581, 2534, 661, 32, 187,
        32869, 27, 247, 4370,
    ]  # fmt: skip
    assert list(range(first.span_start, len(first.tokens))) == [23, 24]
    assert [(item.row, item.choice) for item in inputs] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert all(neox.decode_new(item.tokens).startswith("Question: Which one barks?") for item in inputs[2:])


def test_language_modeling_tokens_are_the_worked_example(neox: PromptTokenizer) -> None:
    first = flat(task("language_modeling"), LINES, neox, 1)[0]
    assert neox.decode_new(first.tokens) == "Two and two make four\nThe sun rises in the east"
    assert first.tokens == [7910, 285, 767, 1056, 1740, 187, 510, 5101, 22844, 275, 253, 9268]
    assert first.span_start == 11


def test_schema_texts_are_the_worked_example(neox: PromptTokenizer) -> None:
    one_shot = flat(task("schema"), SCHEMAS, neox, 1)[0]
    assert neox.decode_new(one_shot.tokens) == (
        "The cup fell off the tray since the tray was tilted.\nAnn beat Bea because Ann was faster."
    )
    no_shot = flat(task("schema"), SCHEMAS, neox, 0)[0]
    assert neox.decode_new(no_shot.tokens) == "Ann beat Bea because Ann was faster."
    assert list(range(no_shot.span_start, len(no_shot.tokens))) == [5, 6, 7]


COT = {"prelimiter": "Q: ", "continuation_delimiter": "\nA: Let's think step by step. ", "cot_delimiter": " #### "}


def test_generation_prompt_with_chain_of_thought_is_the_worked_example() -> None:
    kind = task("generation_task_with_answers", **COT)
    first = next(prompts.generation_inputs(kind, SUMS, CharacterTokenizer(), 1))
    assert CharacterTokenizer().decode_new(first.tokens) == (
        "Q: Half of 8?\nA: Let's think step by step. 8/2 = 4. #### 4\n"
        "Q: Tom has 2 pens and buys 3. How many?\nA: Let's think step by step."
    )


def test_longest_answer_counts_thought_delimiter_and_ten_more() -> None:
    kind = task("generation_task_with_answers", **COT)
    longest = len("2 plus 3 is 5." + " #### " + "five")
    assert prompts.max_answer_length(kind, SUMS, CharacterTokenizer()) == longest + 10
    plain = [GenerationRow("c", "ab", ("abc",))]
    assert prompts.max_answer_length(task("generation_task_with_answers"), plain, CharacterTokenizer()) == 3


def test_prompt_string_comes_first_and_is_followed_by_the_example_delimiter() -> None:
    kind = task("language_modeling", prompt_string="Go:", example_delimiter="|", prelimiter="> ")
    first = flat(kind, LINES, CharacterTokenizer(), 1)[0]
    text = CharacterTokenizer().decode_new(first.tokens)
    assert text == "Go:|> Two and two make four|> The sun rises in theeast"  # this tokenizer wants no prefix space


def test_a_choice_that_begins_with_a_space_gets_no_second_one(neox: PromptTokenizer) -> None:
    rows: list[Row] = [MultipleChoiceRow("Pick", (" x", "x"), 0)]
    with_space, without = flat(task("multiple_choice"), rows, neox, 0)
    query, answer = neox.encode_batch(["Pick", " x"])
    assert with_space.tokens == without.tokens == query + answer


def test_long_contexts_lose_their_beginning() -> None:
    rows: list[Row] = [LanguageModelingRow("abcdefgh", "yz")]
    first = flat(task("language_modeling", max_seq_len=5), rows, CharacterTokenizer(), 0)[0]
    assert CharacterTokenizer().decode_new(first.tokens) == "fghyz"
    assert first.span_start == 3


def test_an_answer_longer_than_the_context_window_is_an_error() -> None:
    rows: list[Row] = [LanguageModelingRow("ab", "vwxyz")]
    with pytest.raises(InputError, match="row 1: the answer has 5 tokens"):
        flat(task("language_modeling", max_seq_len=4), rows, CharacterTokenizer(), 0)


def test_generation_prompts_leave_room_for_the_longest_answer() -> None:
    rows = [GenerationRow("abcdefgh", "xyz")]
    kind = task("generation_task_with_answers", max_seq_len=8)
    first = next(prompts.generation_inputs(kind, rows, CharacterTokenizer(), 0))
    assert CharacterTokenizer().decode_new(first.tokens) == "defgh"
    assert first.max_new_tokens == 3


@pytest.mark.parametrize(
    ("label", "at_the_limit", "inputs"),
    [
        ("bigbench_understanding_fables", 500, 756),
        pytest.param("agi_eval_sat_en", 824, 824, marks=pytest.mark.all),
        pytest.param("bigbench_language_identification", 2920, 40000, marks=pytest.mark.all),
        pytest.param("bigbench_logical_deduction", 250, 6000, marks=pytest.mark.all),
        pytest.param("logi_qa", 2204, 2604, marks=pytest.mark.all),
        pytest.param("pubmed_qa_labeled", 1000, 1000, marks=pytest.mark.all),
        pytest.param("agi_eval_lsat_rc", 1072, 1072, marks=pytest.mark.all),
        pytest.param("boolq", 218, 6540, marks=pytest.mark.all),
        pytest.param("enterprise_pii_classification", 94, 6790, marks=pytest.mark.all),
    ],
)
def test_truncation_on_the_real_files_is_as_measured_upstream(
    shared_data: Path, neox: PromptTokenizer, label: str, at_the_limit: int, inputs: int
) -> None:
    suite = load_suite(str(Path(prompts.__file__).parents[1] / "heavy.yaml"), [str(shared_data / "eval_data")])
    real = next(task for task in suite.tasks if task.label == label)
    count = full = cut = 0
    for row in prompts.scored_rows(real, read_rows(real), neox, real.num_fewshot[-1]):
        count += len(row)
        full += sum(len(item.tokens) == 2048 for item in row)
        cut += sum(item.truncated for item in row)
    assert (full, count) == (at_the_limit, inputs)
    assert cut <= full


def test_prompts_are_cut_on_the_real_files_as_measured_upstream(shared_data: Path, neox: PromptTokenizer) -> None:
    suite = load_suite(str(Path(prompts.__file__).parents[1] / "heavy.yaml"), [str(shared_data / "eval_data")])
    real = next(task for task in suite.tasks if task.label == "agi_eval_sat_math_cot")
    rows = [row for row in read_rows(real) if isinstance(row, GenerationRow)]
    inputs = list(prompts.generation_inputs(real, rows, neox, real.num_fewshot[-1]))
    assert (sum(len(item.tokens) == 2048 - 616 for item in inputs), len(inputs)) == (6, 220)


@pytest.mark.parametrize(
    ("label", "length"),
    [
        ("svamp_cot", 31),
        ("aqua_cot", 290),
        ("agi_eval_sat_math_cot", 616),
        ("triviaqa_sm_sub", 11),
        ("gsm8k_cot", 314),
    ],
)
def test_answer_lengths_on_the_real_files_are_as_measured_upstream(
    shared_data: Path, neox: PromptTokenizer, label: str, length: int
) -> None:
    suite = load_suite(str(Path(prompts.__file__).parents[1] / "heavy.yaml"), [str(shared_data / "eval_data")])
    real = next(task for task in suite.tasks if task.label == label)
    rows = [row for row in read_rows(real) if isinstance(row, GenerationRow)]
    assert prompts.max_answer_length(real, rows, neox) == length


def test_example_rows_of_the_specification_are_read(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(
        json.dumps({"context": " Tom ", "chain_of_thought": "2 plus 3 is 5.", "answer": "5", "aliases": [" five"]})
        + "\n"
        + json.dumps({"context": "Ann", "answer": "6"})
        + "\n"
    )
    rows = read_rows(task("generation_task_with_answers", data_url=str(path)))
    assert rows == [
        GenerationRow("Tom", "5", (" five",), "2 plus 3 is 5."),
        GenerationRow("Ann", "6", (), ""),
    ]


# --- tokenizers with special tokens ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory: pytest.TempPathFactory) -> PromptTokenizer:
    """A Hugging Face tokenizer of bytes that begins a text with <s> and ends it with </s>, as T5's and Llama's do."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("t") / "tokenizer.json"
    write_tokenizer(path)
    made = tokenizers.Tokenizer.from_file(str(path))
    made.add_special_tokens(["<s>", "</s>"])
    ids = [("<s>", made.token_to_id("<s>")), ("</s>", made.token_to_id("</s>"))]
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    return HuggingFacePromptTokenizer(fast, "bytes")


def test_a_prompt_begins_with_bos_and_nothing_else_has_special_tokens(with_bos: PromptTokenizer) -> None:
    (bos,), plain = with_bos.encode_starts([""])[0], with_bos.encode_batch(["ab"])[0]
    assert len(plain) == 2
    (started,) = with_bos.encode_starts(["ab"])
    assert started == [bos, *plain]  # the end token goes, as upstream takes it away
    rows: list[Row] = [LanguageModelingRow("ab", "cd"), LanguageModelingRow("ef", "gh")]
    one_shot = flat(task("language_modeling"), rows, with_bos, 1)[0]
    assert one_shot.tokens == [bos, *with_bos.encode_batch(["ef gh\nabcd"])[0]]
    assert one_shot.tokens.count(bos) == 1


def test_an_empty_preamble_of_such_a_tokenizer_keeps_bos(with_bos: PromptTokenizer) -> None:
    rows: list[Row] = [LanguageModelingRow("ab", "cd")]
    first = flat(task("language_modeling"), rows, with_bos, 0)[0]
    assert first.tokens == [*with_bos.encode_starts([""])[0], *with_bos.encode_batch(["abcd"])[0]]
    assert len(first.tokens) == 5


def test_generated_text_has_no_special_tokens_and_no_ids_that_are_none(with_bos: PromptTokenizer) -> None:
    ids = with_bos.encode_batch(["yes"])[0]
    text = with_bos.decode_new([*ids, with_bos.eot_id, with_bos.num_ids + 5])
    assert text == " yes"  # words of this tokenizer do not begin with a space, so upstream prepends one


def test_text_that_gives_no_tokens_means_no_tokenizer() -> None:
    class Empty:
        eos_token_id = 0

        def __call__(self, texts: object, **_: object) -> dict[str, list[int]]:
            return {"input_ids": []}

    with pytest.raises(InputError, match="no tokenizer"):
        HuggingFacePromptTokenizer(Empty(), "folder")


def test_processes_share_the_rows_and_draw_the_same_examples() -> None:
    kind = task("multiple_choice")
    whole = flat(kind, ANIMALS * 3, CharacterTokenizer(), 2)
    shares = [flat(kind, ANIMALS * 3, CharacterTokenizer(), 2, Share(process, 2)) for process in range(2)]
    assert sorted((item.row, item.choice, tuple(item.tokens)) for share in shares for item in share) == [
        (item.row, item.choice, tuple(item.tokens)) for item in whole
    ]
    assert {item.row % 2 for item in shares[1]} == {1}
