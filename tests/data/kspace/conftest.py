"""k-space files stand on the extra `mri`, raw ones of the tests on ISMRMRD's own library."""

from importlib.util import find_spec

collect_ignore_glob = [] if all(map(find_spec, ("h5py", "pydicom", "ismrmrd"))) else ["*.py"]
