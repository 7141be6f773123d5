"""Code that travels inside a bundle: it stands on torch, MONAI, numpy and scikit-image alone."""
