"""Calls that between them launch every kernel in every configuration; recorded, not run, without a GPU."""

from launches import dense, segments, sparse, warping

CASES = [*dense.CASES, *sparse.CASES, *segments.CASES, *warping.CASES]
