"""Floor 5: the fields, each with the same stages."""
