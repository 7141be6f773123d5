"""Reconstruction: multi-coil k-space in, images out."""
