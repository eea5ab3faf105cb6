"""Document masking: a packed sequence gives each document's own logits, by either backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from training.models.attention import attend, document_block_mask, document_mask, document_numbers
from training.models.config import ModelConfig
from training.models.openlm import Transformer
from training.plan.config import TrainConfig

END = 9
IDS = torch.tensor([[1, 2, 3, END, 4, 5, END, 6], [7, END, 1, 1, 2, 2, 3, 3]])


def test_documents_are_numbered_with_their_separator_at_the_end() -> None:
    assert document_numbers(IDS, END).tolist() == [[0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 1, 1, 1, 1]]


def test_a_token_sees_itself_and_what_precedes_it_in_its_document() -> None:
    mask = document_mask(document_numbers(IDS, END))
    assert isinstance(mask, torch.Tensor)
    assert mask.shape == (2, 1, 8, 8)
    assert mask[0, 0, 5].tolist() == [False] * 4 + [True, True, False, False]
    assert mask[1, 0, 1].tolist() == [True, True] + [False] * 6


@pytest.mark.parametrize("position", ["rotary", "llama_rotary"])
def test_packed_documents_have_the_logits_of_single_ones(position: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_dim=24, n_layers=2, n_heads=3, seq_len=8, vocab_size=16, qk_norm=True, positional_embedding_type=position
    )
    model = Transformer(config).eval()
    packed = model(IDS[:1], documents=document_numbers(IDS[:1], END))[0]
    for start, end in ((0, 4), (4, 7), (7, 8)):
        alone = model(IDS[:1, start:end])[0]
        torch.testing.assert_close(packed[:, start:end], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(model(IDS[:1])[0][:, 4:], packed[:, 4:], atol=1e-3)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_the_same() -> None:
    documents = document_numbers(IDS, END)
    q, k, v = (torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    by_blocks = attend(q, k, v, document_block_mask(documents))
    torch.testing.assert_close(by_blocks, attend(q, k, v, document_mask(documents)), rtol=0, atol=1e-5)


def test_training_masks_documents_where_it_is_told_their_separator(make_config: Callable[..., TrainConfig]) -> None:
    from training.data.batch import Batch
    from training.loop.resume import seed_all
    from training.optimization.step import compute_gradients, make_training_state
    from training.state.ranks import Ranks

    ids = IDS.repeat(1, 2).numpy()
    batch = Batch(x_BT=ids[:, :-1], y_BT=ids[:, 1:])
    found = []
    for separator in (None, END, 31):
        config = make_config(document_separator=separator)
        seed_all(1)
        state = make_training_state(config.model, config.step, Ranks())
        found.append(compute_gradients(state, batch).entropy.item())
    assert found[0] == pytest.approx(found[2], abs=1e-6)  # no token 31: one document
    assert abs(found[0] - found[1]) > 1e-4
