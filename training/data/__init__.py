"""From token shards to batches: orders, masks, the loader."""
