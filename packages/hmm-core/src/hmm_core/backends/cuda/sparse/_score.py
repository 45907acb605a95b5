"""Joint log-probabilities of given paths, summed in float64."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._model import Model

# Frames that a program adds up.
FRAMES = 256


@triton.jit(
    do_not_specialize=[
        "initial_stride",
        "predecessor_stride",
        "weight_stride",
        "step_stride",
        "final_stride",
        "index_stride",
        "B",
        "T",
        "parts",
    ]
)
def score_frames(
    initial,
    predecessors,
    weight,
    emission,
    lengths,
    final,
    index,
    paths,  # (N, B, T), -1 where there is no state
    sums,  # (N, B, parts)
    initial_stride,
    predecessor_stride,
    weight_stride,
    step_stride,
    final_stride,
    index_stride,
    B,
    T,
    P,
    R,
    parts,
    FRAMES: tl.constexpr,
):
    """Score of some frames of a path, of the arcs that enter them, and of the path's ends."""
    row = tl.program_id(0).to(tl.int64) // parts
    part = tl.program_id(0).to(tl.int64) % parts
    b = row % B
    n = tl.load(lengths + b)
    t = part * FRAMES + tl.arange(0, FRAMES)
    k = tl.load(paths + row * T + t, mask=t < T, other=-1)
    used = k >= 0
    before = tl.load(paths + row * T + t - 1, mask=used & (t > 0), other=-1)
    density = k
    if index is not None:
        density = tl.load(index + b * index_stride + k, mask=used, other=0)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
    score = tl.load(emission + (b * T + t) * P + density, mask=used, other=0.0).to(tl.float64)
    step = weight + b * weight_stride + (t - 1) * step_stride
    for r in range(R):
        arc = k * R + r
        i = tl.load(predecessors + b * predecessor_stride + arc, mask=used & (t > 0), other=-2)
        score += tl.load(step + arc, mask=used & (t > 0) & (i == before), other=0.0).to(tl.float64)
    first = used & (t == 0)
    score += tl.load(initial + b * initial_stride + k, mask=first, other=0.0).to(tl.float64)
    score += tl.load(final + b * final_stride + k, mask=used & (t == n - 1), other=0.0).to(tl.float64)
    tl.store(sums + tl.program_id(0), tl.sum(score, 0))


def score(model: Model, paths: Tensor, faulty: Tensor) -> Tensor:
    """Scores (N, B) of paths: ``-inf`` where there is none, NaN if faulty; the first of no frames has 0."""
    N, B, T = paths.shape
    P = model.sizes[3]
    parts = -(-T // FRAMES)
    sums = model.log_emission.new_empty((N, B, parts), dtype=torch.float64)
    launch(
        score_frames,
        (N * B * parts,),
        model.log_initial,
        model.predecessors,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.log_final,
        model.emission_index,
        paths,
        sums,
        model.initial_stride,
        model.predecessor_stride,
        model.weight_stride,
        model.step_stride,
        model.final_stride,
        model.index_stride,
        B,
        T,
        P,
        model.log_weight.shape[3],
        parts,
        FRAMES=FRAMES,
        num_warps=4,
    )
    rank = torch.arange(N, device=paths.device)[:, None]
    nothing = torch.where((model.lengths == 0) & (rank == 0), 0.0, -torch.inf)
    found = paths[:, :, 0] >= 0 if T else torch.zeros_like(nothing, dtype=torch.bool)
    total = torch.where(found, sums.sum(2), nothing)
    return torch.where(faulty, torch.nan, total).to(model.log_emission.dtype)
