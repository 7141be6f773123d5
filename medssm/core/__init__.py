"""Floor 0: names, checks, files. Standard library and YAML only."""
