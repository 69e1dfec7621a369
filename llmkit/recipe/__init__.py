"""Typed recipes: schema, safe YAML, overrides."""
