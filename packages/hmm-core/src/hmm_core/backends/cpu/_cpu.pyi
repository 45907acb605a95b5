# The C++ kernels: addresses of contiguous memory and sizes; see csrc/include/hmm.
class Model:
    def __init__(
        self,
        is_double: bool,
        B: int,
        T: int,
        K: int,
        R: int,
        P: int,
        log_initial: int,
        predecessors: int,
        log_weight: int,
        log_emission: int,
        lengths: int,
        log_final: int,
        emission_index: int,
        initial_stride: int,
        predecessor_stride: int,
        weight_stride: int,
        weight_step: int,
        final_stride: int,
        index_stride: int,
        /,
    ) -> None: ...
    def fault(self) -> int: ...

def target() -> str: ...
def targets() -> list[str]: ...
def use_target(name: str, /) -> bool: ...

# viterbi
def viterbi(model: Model, threads: int, states: int, /) -> None: ...

# dense
def dense_forward(model: Model, threads: int, log_alpha: int, log_likelihood: int, /) -> None: ...
def dense_backward(model: Model, threads: int, log_beta: int, /) -> None: ...
def dense_log_likelihood(
    model: Model, threads: int, log_likelihood: int, mantissa: int, exponent: int, /
) -> None: ...
def dense_posterior(model: Model, threads: int, state: int, log_likelihood: int, /) -> None: ...
def dense_gradient(
    model: Model,
    threads: int,
    upstream: int,
    mantissa: int,
    exponent: int,
    d_initial: int,
    d_weight: int,
    d_emission: int,
    d_final: int,
    /,
) -> None: ...
def dense_expected_transitions(model: Model, threads: int, counts: int, /) -> None: ...

# sparse
def sparse_forward(model: Model, threads: int, log_alpha: int, log_likelihood: int, /) -> None: ...
def sparse_backward(model: Model, threads: int, log_beta: int, /) -> None: ...
def sparse_log_likelihood(
    model: Model, threads: int, log_likelihood: int, mantissa: int, exponent: int, /
) -> None: ...
def sparse_posterior(model: Model, threads: int, state: int, log_likelihood: int, /) -> None: ...
def sparse_gradient(
    model: Model,
    threads: int,
    upstream: int,
    mantissa: int,
    exponent: int,
    d_initial: int,
    d_weight: int,
    d_emission: int,
    d_final: int,
    /,
) -> None: ...
def sparse_expected_transitions(model: Model, threads: int, counts: int, /) -> None: ...

# sampling

# semi_markov

# online

# warping
class Warping:
    def __init__(
        self,
        is_double: bool,
        B: int,
        N: int,
        M: int,
        cost: int,
        lengths_x: int,
        lengths_y: int,
        begin: int,
        end: int,
        /,
    ) -> None: ...

def dtw(
    pairs: Warping, pattern: int, threads: int, distance: int, path: int, path_length: int, /
) -> None: ...
def soft_dtw(pairs: Warping, gamma: float, threads: int, value: int, message: int, /) -> None: ...
def soft_dtw_backward(
    pairs: Warping, gamma: float, threads: int, factor: int, message: int, gradient: int, /
) -> None: ...
def soft_dtw_message_size(is_double: bool, N: int, M: int, /) -> int: ...
def frame_cost(
    is_double: bool,
    B: int,
    N: int,
    M: int,
    D: int,
    root: bool,
    x: int,
    y: int,
    lengths_x: int,
    lengths_y: int,
    threads: int,
    cost: int,
    /,
) -> None: ...
