"""Text sources, the built-in story world, tokenized corpora, labelled tables."""
