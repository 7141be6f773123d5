"""The physics of k-space, on torch alone: the Fourier pair, coils, undersampling."""
