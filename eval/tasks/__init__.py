"""The tasks: suites, prompts, task data and the files it comes from."""

VERSION = 1
