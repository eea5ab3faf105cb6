"""Model configs: the table of section 3 and what is refused."""

from typing import Any

import pytest

from corpusmith.errors import ConfigError, InputError
from training.models.config import CONFIG_FOLDER, load_model_config, model_config_from, model_stem

SIZES = {"hidden_dim": 8, "n_layers": 1, "n_heads": 2, "seq_len": 4, "vocab_size": 16}
MINIMAL = SIZES | {"post_embed_norm": False, "weight_tying": False}


@pytest.mark.parametrize(
    ("name", "width", "layers", "heads", "head_dim", "ffn_dim", "ffn_type"),
    [
        ("d=1024_l=24_h=8", 1024, 24, 8, 128, 2816, "swiglu"),
        ("open_lm_1b_swiglutorch", 2048, 24, 16, 128, 5632, "swiglu_torch"),
        ("open_lm_3b_swiglutorch", 2560, 32, 32, 80, 6912, "swiglu_torch"),
        ("open_lm_7b_swiglutorch", 4096, 32, 32, 128, 11008, "swiglu_torch"),
    ],
)
def test_configs_of_dclm_have_these_sizes(
    name: str, width: int, layers: int, heads: int, head_dim: int, ffn_dim: int, ffn_type: str
) -> None:
    config = load_model_config(f"training/open_lm_configs/{name}.json")
    assert (config.hidden_dim, config.n_layers, config.n_heads) == (width, layers, heads)
    assert (config.head_dim, config.ffn_dim, config.ffn_type) == (head_dim, ffn_dim, ffn_type)
    assert (config.seq_len, config.vocab_size) == (2048, 50432)
    assert not config.post_embed_norm
    assert not config.weight_tying


def test_every_built_in_config_loads_by_its_stem() -> None:
    for path in CONFIG_FOLDER.glob("*.json"):
        assert load_model_config(path.stem) == load_model_config(str(path))


def test_a_value_in_the_file_wins_over_the_flag() -> None:
    config = load_model_config("open_lm_1b_old", model_norm="gain_only_lp_layer_norm", qk_norm=True, ffn_type="gelu")
    assert (config.model_norm, config.qk_norm, config.ffn_type) == ("default_layer_norm", False, "gelu")


def test_stem_is_the_file_name_before_the_first_dot() -> None:
    assert model_stem("training/open_lm_configs/d=1024_l=24_h=8.json") == "d=1024_l=24_h=8"
    assert model_stem("a/b.c.json") == "b"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hiden_dim": 3}, "did you mean 'hidden_dim'"),
        ({"n_heads": 3}, "n_heads"),
        ({"n_heads": "2"}, "n_heads"),
        ({"n_layers": 0}, "n_layers"),
        ({"n_heads": 8}, "even head width"),
        ({"model_norm": "rmsnorm"}, "did you mean 'rms_norm'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_key(changed: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        model_config_from(MINIMAL | changed, where="x.json")


@pytest.mark.parametrize("key", sorted(MINIMAL))
def test_each_of_the_seven_keys_is_required(key: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        model_config_from({name: value for name, value in MINIMAL.items() if name != key}, where="x.json")


def test_an_unknown_config_names_the_nearest() -> None:
    with pytest.raises(InputError, match="open_lm_1b"):
        load_model_config("open_lm_1bb")
