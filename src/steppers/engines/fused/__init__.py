"""The fused engine: a program as generated kernels over tables of addresses."""
