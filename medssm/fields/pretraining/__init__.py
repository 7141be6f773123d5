"""Pre-training: an archive without labels to an encoder that others start from."""
