"""Segmentation: plan, preprocess, train, predict, evaluate."""
