"""Scoring: perplexities of choices, cleaned generations."""

import math

import pytest

from eval.scoring import judge as scoring


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The Eiffel_Tower!!", "eiffel tower"),
        ("a", ""),
        ("An apple’s  core", "apple s core"),
        ("$1,234.50", "1 234 50"),
        ("Yes.", "yes"),
        ("-734", "734"),
        ("5(√3 + 1)", "5 √3 1"),
    ],
)
def test_answers_are_normalised_as_upstream(text: str, cleaned: str) -> None:
    assert scoring.normalize_answer(text) == cleaned


@pytest.mark.parametrize(
    ("text", "labels", "right"),
    [
        ("72", ["7"], True),
        ("-734", ["734"], True),
        ("anything", ["a"], True),
        ("7", ["72"], False),
        ("five of them", ["5", "five"], True),
    ],
)
def test_a_generation_is_right_if_it_starts_with_a_label(text: str, labels: list[str], right: bool) -> None:
    assert scoring.generation_is_right(scoring.clean_generation(text), labels) is right


STOPS = ("\n\n", "Q:", "Q: ")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" 2 + 3 = 5. #### 5\n\nQ: What?", "5"),
        ("Q: What?", ""),
        ("first #### 1 then #### 2", "2"),
        ("no delimiter", "no delimiter"),
        ("1 #### 2Q: 3 #### 4", "2"),
    ],
)
def test_stop_strings_cut_before_the_chain_of_thought_does(text: str, cleaned: str) -> None:
    assert scoring.clean_generation(text, STOPS, " #### ") == cleaned


def test_stop_strings_are_regular_expressions() -> None:
    assert scoring.clean_generation("ab12cd", (r"\d+",)) == "ab"


def test_without_normalisation_only_the_ends_are_stripped() -> None:
    assert scoring.clean_generation(" The End. ", do_normalization=False) == "The End."
    assert scoring.generation_is_right("The End.", [" The "], do_normalization=False)
    assert not scoring.generation_is_right("The End.", ["the"], do_normalization=False)


def test_the_choice_of_least_perplexity_wins_and_ties_go_to_the_first() -> None:
    assert scoring.predicted_choice([2.0, 1.0, 1.5]) == 1
    assert scoring.predicted_choice([1.0, 1.0]) == 0
    # 200 and 100 nats both overflow single precision: a tie, as upstream
    assert scoring.predicted_choice([200.0, 100.0]) == 0


def test_perplexity_is_the_exponential_in_single_precision() -> None:
    assert float(scoring.choice_perplexity(math.log(4))) == pytest.approx(4, rel=1e-6)
    assert math.isinf(float(scoring.choice_perplexity(100.0)))
