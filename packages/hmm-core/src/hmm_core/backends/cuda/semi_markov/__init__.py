"""Triton kernels of the recursions with explicit durations."""
