"""Structure and attention of models as plain data."""
