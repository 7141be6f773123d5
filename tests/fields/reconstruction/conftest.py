"""Reconstruction stands on the extra `mri`; without it there is nothing to test here."""

from importlib.util import find_spec

collect_ignore_glob = [] if all(map(find_spec, ("h5py", "sigpy"))) else ["*.py"]
