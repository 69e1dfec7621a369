"""Two-way rules between Hugging Face tensor names and layouts and ours."""
