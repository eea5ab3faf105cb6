"""`params.txt` is written and read back."""

import pytest

from corpusmith.errors import ConfigError
from training.state.params_txt import params_text, read_params_text


def test_params_text_is_read_back() -> None:
    values = {"model": "tiny", "lr": 3e-05, "wd": 0.033, "seed": 124, "qk_norm": True, "resume": None, "epochs": 5}
    text = params_text(values)
    assert text.splitlines()[:2] == ["epochs: 5", "lr: 3e-05"]
    assert read_params_text(text, "params.txt") == values


def test_old_names_are_read_under_the_new_ones() -> None:
    assert read_params_text("batch_size: 8\nval_batch_size: None\n", "p") == {
        "per_gpu_batch_size": 8,
        "per_gpu_val_batch_size": None,
    }


def test_a_line_without_a_colon_is_named() -> None:
    with pytest.raises(ConfigError, match=r"params\.txt:2"):
        read_params_text("a: 1\nb 2\n", "params.txt")
