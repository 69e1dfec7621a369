"""Objectives, optimizers and the training loop."""
