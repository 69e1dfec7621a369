"""What encoders say about texts: words for masks, labels. One answer per text, in order, batched by length."""
