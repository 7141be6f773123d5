"""Floor 4: a network slid over a whole image, mirrored, averaged, streamed."""
