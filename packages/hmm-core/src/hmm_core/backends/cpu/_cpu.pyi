# The C++ kernels: addresses of contiguous memory and sizes; see csrc/include/hmm.
def viterbi_float32(
    log_initial: int,
    predecessors: int,
    log_weight: int,
    log_emission: int,
    lengths: int,
    log_final: int,
    emission_index: int,
    batch: int,
    frames: int,
    state_count: int,
    slots: int,
    densities: int,
    initial_stride: int,
    predecessor_stride: int,
    weight_stride: int,
    weight_step: int,
    final_stride: int,
    index_stride: int,
    threads: int,
    states: int,
    /,
) -> None: ...

viterbi_float64 = viterbi_float32
