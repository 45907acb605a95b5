// Pairs of sequences, given as the costs of aligning their frames or as the frames.
#pragma once

#include <cstdint>

#include "hmm/target.hpp"

namespace hmm {

// Of two frames: |x - y|^2, its root, or |x - y|^2 / 2, which for frames of length 1 is one minus the cosine;
// frames of zeros are at a right angle to all.
enum class Metric : int { kSquaredEuclidean = 0, kEuclidean = 1, kCosine = 2 };

// Addresses of contiguous memory that the caller owns.
template <typename Real>
struct Warping {
  std::int64_t batch = 0;    // B
  std::int64_t rows = 0;     // N
  std::int64_t columns = 0;  // M

  const Real* cost = nullptr;  // (B, N, M), +inf: forbidden. Null: those of the frames
  const Real* x = nullptr;     // (B, N, D)
  const Real* y = nullptr;     // (B, M, D)
  std::int64_t size = 0;       // D
  Metric metric = Metric::kSquaredEuclidean;
  const std::int64_t* lengths_x = nullptr;  // (B,), 0..N
  const std::int64_t* lengths_y = nullptr;  // (B,), 0..M
  // Columns begin..end-1 of each row may be used; neither ever decreases, and end is at most the length.
  // Null: all.
  const std::int64_t* begin = nullptr;  // (B, N)
  const std::int64_t* end = nullptr;    // (B, N)
};

}  // namespace hmm
