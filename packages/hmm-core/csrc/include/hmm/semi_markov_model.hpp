// A batch of sequences and the hidden semi-Markov model that they are read with.
//
// A path is a sequence of segments (state j, length d in 1..L). It weighs
//
//   initial[first] * prod over segments (duration[j, d] * emissions of its frames) * prod transition * final
//
// Segments that stand alone, first, between others, or last may have tables of durations of their own: that
// is how the caller says that the observations began or ended inside a segment.
#pragma once

#include <cstdint>

#include "hmm/model.hpp"

namespace hmm {

// Position of a segment in its path, and of its table in log_duration.
enum SegmentKind : int { kOnly = 0, kFirst = 1, kInner = 2, kLast = 3, kSegmentKinds = 4 };

template <typename Real>
struct SemiMarkovModel {
  Model<Real> hmm;                     // weights that do not vary in time
  std::int64_t longest = 0;            // L
  std::int64_t kinds = 1;              // 1: one table for all segments; 4: one for each SegmentKind
  const Real* log_duration = nullptr;  // (B|1, kinds, K, L), length d at index d-1
  std::int64_t duration_stride = 0;    // as in Model

  // Distance of the table of a kind from the first one, in tables.
  __attribute__((always_inline)) std::int64_t table(int kind) const { return kinds == 1 ? 0 : kind; }
};

// Expected counts given the observations, which are the derivatives of the log-likelihood.
template <typename Real>
struct SemiMarkovCounts {
  Real* log_likelihood;  // (B,)
  Real* state;           // (B, T, K), probability of each state in each frame; 0 in padding
  Real* initial;         // (B, K), of the first segment
  Real* transition;      // (B, K, K) [from, to] or (B, K, R), uses of each arc
  Real* duration;        // (B, kinds, K, L), segments of each length
  Real* final;           // (B, K), of the last segment
};

}  // namespace hmm
