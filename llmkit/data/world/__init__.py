"""The small world of the built-in stories: its words, its teller, its plots."""
