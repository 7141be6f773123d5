"""C++ kernels behind a plain C ABI: built once, loaded by ctypes, no torch headers."""
