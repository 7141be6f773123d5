"""Floor 4: the one engine that trains every field, on Lightning's loop."""
