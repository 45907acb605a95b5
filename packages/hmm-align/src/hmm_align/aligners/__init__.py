"""Aligners of a text and a recording, or of two sequences: warping, CTC, monotonic, attention, HMM."""
