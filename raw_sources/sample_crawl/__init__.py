"""A small seeded crawl made without network, with a file that tells what is in it."""
