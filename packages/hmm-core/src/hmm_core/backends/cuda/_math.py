"""Arithmetic in the log domain that all kernels share; safe at -inf, and NaN stays NaN."""

import triton
import triton.language as tl


@triton.jit
def finite_or_zero(x):
    """Replace ``-inf`` by 0, for a value about to be subtracted."""
    return tl.where(x == float("-inf"), 0.0, x)


@triton.jit
def logaddexp(a, b):
    """Log of the sum of two exponentials."""
    shift = finite_or_zero(tl.maximum(a, b))
    return tl.log(tl.exp(a - shift) + tl.exp(b - shift)) + shift


@triton.jit
def lse(x, axis: tl.constexpr):
    """Log of the sum of exponentials along an axis."""
    shift = finite_or_zero(tl.max(x, axis))
    return tl.log(tl.sum(tl.exp(x - tl.expand_dims(shift, axis)), axis)) + shift
