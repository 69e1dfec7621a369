"""Parts that every family is wired from: attention, norms, positions, feed-forward, caches. No family names here."""
