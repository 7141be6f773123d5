"""Pathology: whole-slide images to predictions of a slide or a patient."""
