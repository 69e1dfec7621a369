"""Training on several processes: who they are, how a model is spread over them, how it is put together again."""
