"""DCLM's name for the module of its flags; they stand in `training.arguments.dclm`."""

from training.arguments.dclm import build_parser

__all__ = ["build_parser"]
