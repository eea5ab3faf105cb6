"""The bench of searches: objectives whose optimum is known, and RegMix's released runs."""
