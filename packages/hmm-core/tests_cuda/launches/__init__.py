"""Calls that between them launch every kernel in every configuration; recorded, not run, without a GPU.

And calls of the smallest sizes, for Triton takes a number that is 1 for a constant.
"""

from launches import dense, segments, sparse, warping

CASES = [*dense.CASES, *sparse.CASES, *segments.CASES, *warping.CASES]
SMALLEST_CASES = [*dense.SMALLEST, *sparse.SMALLEST, *segments.SMALLEST, *warping.SMALLEST]
