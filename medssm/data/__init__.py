"""Floor 1: what a reader hands out, file formats, manifests, integrity, splits."""
