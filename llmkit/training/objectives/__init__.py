"""One class per objective; each owns its corruption and its loss."""
