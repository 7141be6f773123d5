"""Modules made of operators: convolution blocks, norms, token mixers."""
