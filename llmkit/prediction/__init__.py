"""Encoders at work on lines of text: fill-mask and classification."""
