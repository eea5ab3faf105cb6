"""Our checkpoints as a model of lm-evaluation-harness, which then runs its own tasks on them.

    python -m eval.lm_eval_adapter run --model corpusmith --tasks arc_easy \
        --model_args checkpoint=logs/m/checkpoints/epoch_1.pt,tokenizer=tokenizer.json

is the harness's own command line with the model `corpusmith` added; `CorpusmithLM` may also be given to
`lm_eval.simple_evaluate`. Needs the package lm-eval (extra `lm-eval`), which no other module imports.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from corpusmith import packages
from corpusmith.errors import CorpusmithError, InputError, missing_package
from corpusmith.text.tokenizers.load import GPT_NEOX
from eval.models.openlm import OpenLMModel
from eval.models.prompt_tokenizers import load_prompt_tokenizer
from eval.scoring.batching import TokenBudget
from eval.scoring.inference import generate
from eval.scoring.request_scores import ContinuationRequest, score_requests
from eval.tasks.prompts import GenerationInput
from training.state.checkpoint import load_model

try:
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
except ModuleNotFoundError as error:
    raise missing_package("lm-eval", "lm-eval") from error

_DEFAULT_NEW_TOKENS = 256


@register_model("corpusmith")
class CorpusmithLM(TemplateLM):  # type: ignore[misc]  # the harness is not typed
    """An OpenLM checkpoint of ours or of others."""

    def __init__(
        self,
        checkpoint: str,
        tokenizer: str = GPT_NEOX,
        params: str | None = None,
        config: str | None = None,
        device: str | None = None,
        max_length: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """Load a checkpoint.

        Args:
            checkpoint: `epoch_n.pt`.
            tokenizer: name or path.
            params: `params.txt`; by default that of the checkpoint's experiment.
            config: model config, name or JSON, in place of what `params.txt` says.
            device: torch device, the CPU by default.
            max_length: tokens of context and answer; by default the model's sequence length.
            batch_size, max_batch_size: accepted without effect, batches are made by tokens and memory.
        """
        super().__init__()
        del batch_size, max_batch_size
        module = load_model(checkpoint, params_url=params, model_config=config, device=device or "cpu")
        self._model = OpenLMModel(module, device or "cpu")
        self._tokenizer = load_prompt_tokenizer(tokenizer)
        self._budget = TokenBudget(self._model)
        self._tokenizer_name = tokenizer
        self.max_length = max_length or module.config.seq_len

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's caches."""
        return self._tokenizer_name

    @property
    def eot_token_id(self) -> int:
        """The id that ends a document."""
        return self._tokenizer.eot_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; our tokenizers add no special tokens."""
        del add_special_tokens
        return self._tokenizer.encode_batch([string])[0]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood and greediness of each request."""
        asked = [ContinuationRequest(context, continuation) for _, context, continuation in requests]
        scores = score_requests(self._model, asked, self.max_length + 1, self._budget)
        return [(score.log_likelihood, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of `max_length` that do not overlap in what they predict."""
        del disable_tqdm
        windows: list[tuple[None, list[int], list[int]]] = []
        counts = []
        for request in requests:
            pairs = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            own = [(None, *utils.make_disjoint_window(pair)) for pair in pairs]
            windows += own
            counts.append(len(own))
        scores = iter(self._loglikelihood_tokens(windows))
        return [sum(next(scores)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations up to the first stop string."""
        del disable_tqdm
        found = [""] * len(requests)
        groups: dict[tuple[str, ...], list[GenerationInput]] = {}
        for index, request in enumerate(requests):
            context, settings = request.args
            item, stops = self._generation(index, context, settings)
            groups.setdefault(stops, []).append(item)
        for stops, items in groups.items():
            patterns = [re.escape(stop) for stop in stops]
            for generation in generate(self._model, self._tokenizer, items, patterns, self._budget):
                text = self._tokenizer.decode_new(generation.tokens)
                found[generation.row] = re.split("|".join(patterns), text, maxsplit=1)[0] if patterns else text
        return found

    def _generation(
        self, index: int, context: str, settings: dict[str, Any]
    ) -> tuple[GenerationInput, tuple[str, ...]]:
        """The prompt and the stop strings of a request."""
        if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
            raise InputError("corpusmith generates greedily; the task asks for sampling (do_sample)")
        until = settings.get("until") or ()
        stops = tuple(stop for stop in ([until] if isinstance(until, str) else until) if stop)
        new_tokens = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or _DEFAULT_NEW_TOKENS)
        room = self.max_length - new_tokens
        if room < 1:
            raise InputError(f"max_gen_toks {new_tokens} leaves no room for a prompt within {self.max_length} tokens")
        tokens = self.tok_encode(context)[-room:] or [self.eot_token_id]
        return GenerationInput(row=index, tokens=tokens, max_new_tokens=new_tokens), stops


def main() -> int:
    """The harness's command line, with our model registered."""
    from lm_eval.__main__ import cli_evaluate

    packages.check_origin()
    try:
        cli_evaluate()
    except CorpusmithError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
