"""Plain data to terminal output. The only package besides `cli` that knows Rich."""
