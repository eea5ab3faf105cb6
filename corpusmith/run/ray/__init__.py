"""Ray: one function over many tasks, with retries, pools and the decisions after a death."""
