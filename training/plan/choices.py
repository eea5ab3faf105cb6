"""Names that flags choose from; shared by both command lines and the loop."""

from __future__ import annotations

PRECISION_NAMES = ("amp_bfloat16", "amp", "amp_bf16", "bf16", "fp16", "fp32")
GLOBAL_ORDER = "global"
OPENLM_ORDER = "openlm"
ORDERS = (GLOBAL_ORDER, OPENLM_ORDER)
SCHEDULERS = ("cosine", "const", "wsd", "const-cooldown")
ATTENTION_NAMES = ("auto", "xformers_attn", "xformers_attn_variable_length", "torch_attn", "custom_attn")
