"""Operators on sequences: selective scan, causal convolution, routes. Needs torch alone."""
