"""One file per family; the file name is the Hugging Face model_type."""
