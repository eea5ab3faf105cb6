"""Models to the transformers library and back."""
