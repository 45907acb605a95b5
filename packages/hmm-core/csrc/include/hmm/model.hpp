// A batch of sequences and the model that they are read with, as every recursion takes them.
#pragma once

#include <cstdint>

namespace hmm {

// Addresses of contiguous memory that the caller owns. A stride is the distance in elements from one sequence
// (or step) to the next: 0 where all share one table. Checked by hmm::find_fault; the kernels themselves
// trust it.
template <typename Real>
struct Model {
  std::int64_t batch = 0;      // B
  std::int64_t frames = 0;     // T
  std::int64_t states = 0;     // K
  std::int64_t slots = 0;      // R, arcs into a state; 0: dense transitions
  std::int64_t densities = 0;  // P

  const Real* log_initial = nullptr;             // (B|1, K)
  const std::int64_t* predecessors = nullptr;    // (B|1, K, R), ascending, then -1; null: dense transitions
  const Real* log_weight = nullptr;              // (B|1, T-1|1, K, K) [from, to], or (B|1, T-1|1, K, R)
  const Real* log_emission = nullptr;            // (B, T, P)
  const std::int64_t* lengths = nullptr;         // (B,)
  const Real* log_final = nullptr;               // (B|1, K)
  const std::int64_t* emission_index = nullptr;  // (B|1, K), or null: state k reads density k

  std::int64_t initial_stride = 0;
  std::int64_t predecessor_stride = 0;
  std::int64_t weight_stride = 0;
  std::int64_t weight_step = 0;
  std::int64_t final_stride = 0;
  std::int64_t index_stride = 0;

  __attribute__((always_inline)) bool dense() const { return slots == 0; }
  // Numbers in one table of weights.
  __attribute__((always_inline)) std::int64_t weights() const { return states * (dense() ? states : slots); }
};

// What find_fault (hmm/fault.hpp) found.
struct Fault {
  enum Kind : int { kNone, kInitial, kPredecessor, kWeight, kEmission, kLength, kFinal, kIndex };
  Kind kind = kNone;
};

}  // namespace hmm
