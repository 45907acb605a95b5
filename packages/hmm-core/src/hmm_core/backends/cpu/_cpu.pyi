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
        steps: int,
        # Numbers of entries.
        initial_size: int,
        predecessors_size: int,
        weight_size: int,
        final_size: int,
        index_size: int,
        # Addresses.
        log_initial: int,
        predecessors: int,
        log_weight: int,
        log_emission: int,
        lengths: int,
        log_final: int,
        emission_index: int,
        /,
    ) -> None: ...
    def fault(self, threads: int, emissions: bool, /) -> int: ...

def target() -> str: ...
def targets() -> list[str]: ...
def use_target(name: str, /) -> bool: ...

# viterbi
def viterbi(model: Model, threads: int, memory: int, states: int, log_score: int, /) -> int: ...
def beam_viterbi(
    model: Model,
    threads: int,
    memory: int,
    width: float,
    states: int,
    log_score: int,
    depth: int,
    exact: int,
    /,
) -> int: ...
def kbest(model: Model, threads: int, num_paths: int, states: int, log_score: int, /) -> None: ...

# recursions
def forward(model: Model, threads: int, log_alpha: int, log_likelihood: int, /) -> None: ...
def backward(model: Model, threads: int, log_beta: int, /) -> None: ...
def log_likelihood(model: Model, threads: int, log_likelihood: int, message: int, /) -> None: ...
def posterior(model: Model, threads: int, state: int, log_likelihood: int, /) -> None: ...
def gradient(
    model: Model,
    threads: int,
    upstream: int,
    message: int,
    d_initial: int,
    d_weight: int,
    d_emission: int,
    d_final: int,
    /,
) -> None: ...
def expected_transitions(model: Model, threads: int, counts: int, /) -> None: ...

# sampling
def sample(model: Model, threads: int, samples: int, uniform: int, states: int, /) -> None: ...
def entropy(model: Model, threads: int, result: int, /) -> None: ...

# semi_markov
def semi_markov_log_likelihood(
    model: Model,
    longest: int,
    kinds: int,
    log_duration: int,
    duration_stride: int,
    threads: int,
    log_likelihood: int,
    /,
) -> None: ...
def semi_markov_posterior(
    model: Model,
    longest: int,
    kinds: int,
    log_duration: int,
    duration_stride: int,
    threads: int,
    log_likelihood: int,
    state: int,
    initial: int,
    transition: int,
    duration: int,
    final: int,
    /,
) -> None: ...
def semi_markov_viterbi(
    model: Model,
    longest: int,
    kinds: int,
    log_duration: int,
    duration_stride: int,
    threads: int,
    states: int,
    durations: int,
    /,
) -> None: ...
def semi_markov_sample(
    model: Model,
    longest: int,
    kinds: int,
    log_duration: int,
    duration_stride: int,
    threads: int,
    samples: int,
    uniform: int,
    states: int,
    durations: int,
    /,
) -> None: ...

# online
class OnlineFilter:
    def __init__(self, model: Model, /) -> None: ...
    def push(
        self, log_emission: int, n: int, width: int, log_filter: int, log_likelihood: int, /
    ) -> bool: ...
    def reset(self) -> None: ...
    def restore(self, log_filter: int, log_likelihood: float, num_frames: int, /) -> None: ...
    def save(self, log_filter: int, /) -> None: ...
    @property
    def log_likelihood(self) -> float: ...
    @property
    def num_frames(self) -> int: ...

class OnlineViterbi:
    def __init__(self, model: Model, longest_delay: int, /) -> None: ...
    def push(self, log_emission: int, n: int, width: int, best: int, /) -> bool: ...
    def reset(self) -> None: ...
    def take(self, states: int, /) -> None: ...
    def finish(self, log_final: int, states: int, /) -> float: ...
    @property
    def num_frames(self) -> int: ...
    @property
    def num_committed(self) -> int: ...
    @property
    def num_waiting(self) -> int: ...
    @property
    def num_forced(self) -> int: ...
    @property
    def log_score(self) -> float: ...

# warping
class Warping:
    def __init__(
        self,
        is_double: bool,
        B: int,
        N: int,
        M: int,
        cost: int,
        x: int,
        y: int,
        D: int,
        metric: int,
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
def soft_dtw_frames(
    pairs: Warping, gamma: float, threads: int, value: int, by_x: int, by_y: int, /
) -> None: ...
def frame_cost(pairs: Warping, threads: int, cost: int, /) -> None: ...
