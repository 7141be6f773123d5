"""Outputs of the official implementations, and the harness that holds ours against them."""
