"""C++ kernels of the recursions with explicit durations: ``csrc/include/hmm/semi_markov*.hpp``."""
