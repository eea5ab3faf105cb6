"""Model configs as data, and the networks that they describe."""
