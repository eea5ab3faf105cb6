"""What every global step shares: the table of steps, writing a shard again, sizing, running one by itself."""

VERSION = 1
