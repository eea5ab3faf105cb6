"""The training step against this machine's matrix products and against a plain nanoGPT-style loop; the loader.

Three questions, answered in one run with interleaved repeats. How much of the peak that this device reaches in one
large matrix product goes into the model's own FLOPs (a causal mask counted as half of attention)? How many tokens per
second beside the loop of nanoGPT at equal layers, width, heads, vocabulary, length and batch, written out below? How
much faster than the step consumes them does the loader deliver sequences?

On a CPU one thread is timed, in CPU seconds, so that other work on the machine does not count. With `--device cuda`
the larger shapes are timed too, in seconds, with MFU as the field states it: PaLM's FLOPs over the maker's bf16 peak.
Needs torch, numpy and this checkout; the loader's row also needs orjson and xxhash, and says so where they lack.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import gc
import importlib.util
import itertools
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._bench import Row, interleaved, make_parser, report, spread
from training.data.batch import Batch
from training.models.config import ModelConfig, load_model_config
from training.observers.throughput import flops_per_token, peak_flops
from training.optimization.recipe import PRECISIONS, Recipe, tf32_matmul
from training.optimization.step import StepConfig, apply_gradients, compute_gradients, make_training_state
from training.state.ranks import Ranks

GOAL_PEAK, GOAL_NANOGPT, GOAL_LOADER = 0.6, 1.0, 20.0
SHAPES = {"62m": "proxy_62m", "400m": "d=1024_l=24_h=8", "1b": "open_lm_1b_swiglutorch"}
CUDA_MICRO_BATCH = {"62m": 32, "400m": 16, "1b": 8}
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
LOADER_SHARDS, LOADER_SEQUENCES = 4, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One shape on one device: `micro` sequences of `seq_len` tokens per step."""

    shape: str
    config: ModelConfig
    device: torch.device
    precision: str
    compile: bool
    micro: int
    seq_len: int

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.micro * self.seq_len

    @property
    def label(self) -> str:
        """Shape, precision and whether compiled."""
        return f"{self.shape} {self.precision}{' compiled' if self.compile else ''}"


class NanoBlock(nn.Module):
    """A GPT-2 block as nanoGPT writes it: LayerNorms, fused qkv, GELU of four times the width, no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv, self.attention_out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, 2)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(attended.transpose(1, 2).contiguous().view(batch, tokens, width))
        out: Tensor = x + self.down(F.gelu(self.up(self.norm_2(x))))
        return out


class NanoGpt(nn.Module):
    """GPT-2 with learned positions and a tied head."""

    def __init__(self, config: ModelConfig, seq_len: int) -> None:
        super().__init__()
        width = config.hidden_dim
        self.tokens, self.positions = nn.Embedding(config.vocab_size, width), nn.Embedding(seq_len, width)
        self.blocks = nn.ModuleList(NanoBlock(width, config.n_heads) for _ in range(config.n_layers))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, config.vocab_size, bias=False)
        self.tokens.weight = self.head.weight
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        loss: Tensor = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return loss


def nanogpt_step(setting: Setting, stream: np.ndarray) -> Callable[[], None]:
    """A step of nanoGPT's loop: random crops of a flat array of ids, autocast, clipping at 1, AdamW."""
    torch.manual_seed(0)
    model: Callable[..., Tensor] = (network := NanoGpt(setting.config, setting.seq_len).to(setting.device))
    if setting.compile:
        model = torch.compile(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=setting.device.type == "cuda"
    )
    draws = np.random.default_rng(0)
    dtype = PRECISIONS[setting.precision]

    def step() -> None:
        starts = draws.integers(0, len(stream) - setting.seq_len - 1, setting.micro)
        x, y = (
            torch.stack(
                [torch.from_numpy(stream[s + shift : s + shift + setting.seq_len].astype(np.int64)) for s in starts]
            )
            for shift in (0, 1)
        )
        x, y = x.to(setting.device, non_blocking=True), y.to(setting.device, non_blocking=True)
        with torch.autocast(setting.device.type, dtype=dtype, enabled=dtype is not None):
            loss = model(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(setting.device)

    return step


def our_step(setting: Setting, stream: np.ndarray) -> Callable[[], None]:
    """A step of ours, with the z-loss, qk norm and clipping of DCLM's scales."""
    torch.manual_seed(0)
    config = StepConfig(
        recipe=Recipe(weight_decay=0.033, z_loss=1e-4), precision=setting.precision, compile=setting.compile
    )
    state = make_training_state(setting.config, config, Ranks(device=setting.device))
    draws = np.random.default_rng(0)

    def step() -> None:
        starts = draws.integers(0, len(stream) - setting.seq_len - 1, setting.micro)
        chunk = np.stack([stream[start : start + setting.seq_len + 1] for start in starts]).astype(np.int64)
        loss = compute_gradients(state, Batch(x_BT=chunk[:, :-1], y_BT=chunk[:, 1:]))
        apply_gradients(state, 1e-4)
        if not torch.isfinite(loss.entropy).item():
            raise RuntimeError("the loss is not finite")
        _wait(setting.device)

    return step


def matmul(setting: Setting) -> tuple[Callable[[], None], float]:
    """A large matrix product in the precision of the step, and its FLOPs."""
    size = MATMUL_SIZE[setting.device.type]
    dtype = PRECISIONS[setting.precision] or torch.float32
    left, right = (torch.randn(size, size, device=setting.device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    rounds = 8

    def run() -> None:
        for _ in range(rounds):
            torch.mm(left, right, out=out)
        _wait(setting.device)

    return run, 2.0 * size**3 * rounds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def step_rows(setting: Setting, repeats: int) -> tuple[list[Row], float]:
    """The rows of one shape, and the tokens per second of our step."""
    stream = np.random.default_rng(1).integers(0, setting.config.vocab_size - 1, 1 << 20).astype(np.uint16)
    product, product_flops = matmul(setting)
    clock = time.process_time if setting.device.type == "cpu" else time.perf_counter
    contenders = {"matmul": product, "ours": our_step(setting, stream)}
    if setting.shape != "1b":  # two of them and their optimizers don't fit into one device
        contenders["nanogpt"] = nanogpt_step(setting, stream)
    seconds = interleaved(contenders, repeats, clock)
    peak, ours = (statistics.median(seconds[name]) for name in ("matmul", "ours"))
    for name, found in seconds.items():
        sys.stdout.write(f"{setting.label} {name}: {spread(found)}\n")
    attention = 12 * setting.config.n_layers * setting.config.hidden_dim * setting.seq_len
    palm = flops_per_token(setting.config, setting.seq_len)
    own = (palm - attention / 2) * setting.tokens / ours
    peak_per_second = product_flops / peak
    rows = [
        Row(
            name=f"{setting.label}: share of the matmul peak",
            ours=own / 1e9,
            other=peak_per_second / 1e9,
            unit="GFLOP/s",
            ratio=own / peak_per_second,
            goal=f">= {GOAL_PEAK}",
            met=own / peak_per_second >= GOAL_PEAK,
        ),
    ]
    if "nanogpt" in seconds:
        nano = statistics.median(seconds["nanogpt"])
        rows.append(
            Row(
                name=f"{setting.label}: tokens/s against nanoGPT's loop",
                ours=setting.tokens / ours,
                other=setting.tokens / nano,
                unit="tokens/s",
                ratio=nano / ours,
                goal=f">= {GOAL_NANOGPT}",
                met=nano / ours >= GOAL_NANOGPT,
            )
        )
    if setting.device.type == "cuda":
        maker = peak_flops(setting.device, setting.precision)
        mfu = palm * setting.tokens / ours
        rows.append(
            Row(
                name=f"{setting.label}: MFU",
                ours=mfu / 1e12,
                other=maker / 1e12,
                unit="TFLOP/s",
                ratio=mfu / maker,
                goal="",
                met=None,
            )
        )
    return rows, setting.tokens / ours


def loader_row(config: ModelConfig, consumption: float, label: str) -> Row | None:
    """Tokens per CPU second of the global order over webdataset shards, against those that a step consumes."""
    lacking = [name for name in ("orjson", "xxhash") if importlib.util.find_spec(name) is None]
    if lacking:
        sys.stdout.write(f"loader: not timed, {' and '.join(lacking)} are not installed\n")
        return None
    from corpusmith.io.tokens import wds
    from training.data.batch import BatchSpec
    from training.data.global_order import GlobalReader, Interleaving, SourceOrder
    from training.data.token_shards import find_token_dataset

    draws = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder:
        entries = []
        for number in range(1, LOADER_SHARDS + 1):
            rows = draws.integers(0, config.vocab_size - 1, (LOADER_SEQUENCES, config.seq_len + 1), dtype=np.uint32)
            wds.write_wds_shard(f"{folder}/{wds.shard_name(number)}.tar", rows)
            entries.append(wds.ManifestEntry(shard=wds.shard_name(number), num_sequences=LOADER_SEQUENCES))
        wds.write_manifest(f"{folder}/{wds.MANIFEST_NAME}", entries)
        spec = BatchSpec(seq_len=config.seq_len, vocab_size=config.vocab_size, batch_size=16)
        shards = find_token_dataset(f"{folder}/{wds.MANIFEST_NAME}").shards
        steps = LOADER_SHARDS * LOADER_SEQUENCES // spec.batch_size

        def read() -> Iterator[Batch]:
            order = SourceOrder(shards, (0,), 2)
            return GlobalReader([order], Interleaving([1.0], (0,)), [""], spec, steps * 16).batches(0, steps)

        seconds = interleaved({"loader": lambda: [*itertools.islice(read(), steps)]}, 3)["loader"]
    sys.stdout.write(f"loader: {spread(seconds)}\n")
    delivered = steps * spec.batch_size * config.seq_len / statistics.median(seconds)
    ratio = delivered / consumption
    return Row(
        name=f"loader against the step of {label}",
        ours=delivered,
        other=consumption,
        unit="tokens/s",
        ratio=ratio,
        goal=f">= {GOAL_LOADER:g}",
        met=ratio >= GOAL_LOADER,
    )


def settings(
    device: torch.device,
    shapes: list[str],
    precision: str | None,
    micro: int | None,
    seq_len: int | None,
    compiled: list[bool],
) -> Iterator[Setting]:
    """Every shape that was asked for."""
    cuda = device.type == "cuda"
    for shape, compile_ in itertools.product(shapes, compiled):
        config = load_model_config(SHAPES[shape], model_norm="gain_only_lp_layer_norm", qk_norm=True)
        yield Setting(
            shape=shape,
            config=config,
            device=device,
            precision=precision or ("amp_bfloat16" if cuda else "fp32"),
            compile=compile_,
            micro=micro or (CUDA_MICRO_BATCH[shape] if cuda else 1),
            seq_len=seq_len or config.seq_len,
        )


def main() -> int:
    """Time the steps and the loader, print the rows."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--shape", nargs="+", choices=tuple(SHAPES), help="default 62m; all of them on cuda")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default fp32 on a CPU, amp_bfloat16 on cuda")
    parser.add_argument("--micro-batch", type=int, help="sequences per step (default 1 on a CPU)")
    parser.add_argument("--seq-len", type=int, help="tokens per sequence (default the shape's; 512 with --quick)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU run (default 1)")
    parser.add_argument("--compile", nargs="+", choices=("no", "yes"), help="default no on a CPU, both on cuda")
    parser.add_argument("--repeats", type=int, help="default 5 (3 with --quick)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    cuda = device.type == "cuda"
    choice = arguments.compile or (["no", "yes"] if cuda else ["no"])
    seq_len = arguments.seq_len or (512 if arguments.quick and not cuda else None)
    repeats = arguments.repeats or (3 if arguments.quick else 5)
    rows: list[Row] = []
    with tf32_matmul():
        shapes = arguments.shape or (list(SHAPES) if cuda else ["62m"])
        compiled = [name == "yes" for name in choice]
        for setting in settings(device, shapes, arguments.precision, arguments.micro_batch, seq_len, compiled):
            try:
                found, consumption = step_rows(setting, repeats)
            except torch.OutOfMemoryError as error:
                sys.stdout.write(f"{setting.label}: not timed, {str(error).splitlines()[0]}\n")
                found, consumption = [], None
            rows += found
            if cuda:
                sys.stdout.write(f"{setting.label}: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most\n")
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            if consumption is not None:
                loader = loader_row(setting.config, consumption, setting.label)
                rows += [] if loader is None else [loader]
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    sys.stdout.write(f"device: {name}, torch {torch.__version__}\n")
    report(rows, arguments.json, {"torch": torch.__version__, "numpy": np.__version__, "device": name})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
