"""The electrocardiogram: findings of 12-lead records as calibrated probabilities."""
