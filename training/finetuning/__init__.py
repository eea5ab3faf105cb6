"""Instruction data for fine-tuning: examples to token shards, and their download."""

VERSION = 1
