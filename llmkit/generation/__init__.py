"""Text out of decoders: settings, samplers over logits, the decode loop, streaming text."""
