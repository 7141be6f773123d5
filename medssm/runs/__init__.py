"""The workspace, the composition of a configuration, and the record of a run."""
