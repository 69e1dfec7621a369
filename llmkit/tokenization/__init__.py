"""Training, reading and using tokenizers, over the `tokenizers` library."""
