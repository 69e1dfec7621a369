"""Checkpoints on disk: Hugging Face layout, manifests, the run directory's commit protocol."""
