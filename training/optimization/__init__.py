"""One optimizer step: losses, recipe, schedule, averagers."""
