"""Demonstrations that need no data of one's own."""

NUM_SENTENCES = 120
