// A batch of sequences and the model that they are read with, as every recursion takes them.
#pragma once

#include <cstdint>
#include <limits>

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

  __attribute__((always_inline)) bool dense() const { return predecessors == nullptr; }
  // Numbers in one table of weights.
  __attribute__((always_inline)) std::int64_t weights() const { return states * (dense() ? states : slots); }
};

// What find_fault found.
struct Fault {
  enum Kind : int { kNone, kInitial, kPredecessor, kWeight, kEmission, kLength, kFinal, kIndex };
  Kind kind = kNone;
};

namespace detail {

// Whether a value is NaN or +inf.
template <typename Real>
bool any_not_below_infinity(const Real* values, std::int64_t n) {
  // Counted without branches, so that it runs at the speed of memory.
  constexpr std::int64_t kBlock = 4096;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t end = begin + kBlock < n ? begin + kBlock : n;
    int wrong = 0;
    for (std::int64_t i = begin; i < end; ++i)
      wrong |= static_cast<int>(!(values[i] <= std::numeric_limits<Real>::max()));
    if (wrong != 0) return true;
  }
  return false;
}

}  // namespace detail

// The first argument that breaks a rule: lengths in 0..T; indices in range; no NaN and no +inf in what is
// read.
template <typename Real>
Fault find_fault(const Model<Real>& m) {
  for (std::int64_t b = 0; b < m.batch; ++b) {
    if (m.lengths[b] < 0 || m.lengths[b] > m.frames) return {Fault::kLength};
  }
  const auto tables = [&](std::int64_t stride) { return stride == 0 ? (m.batch > 0 ? 1 : 0) : m.batch; };
  if (m.emission_index != nullptr) {
    const std::int64_t n = tables(m.index_stride) * m.states;
    for (std::int64_t i = 0; i < n; ++i) {
      if (m.emission_index[i] < 0 || m.emission_index[i] >= m.densities) return {Fault::kIndex};
    }
  }
  if (detail::any_not_below_infinity(m.log_initial, tables(m.initial_stride) * m.states))
    return {Fault::kInitial};
  const std::int64_t steps = m.weight_step == 0 ? 1 : m.frames - 1;
  const std::int64_t all = tables(m.weight_stride) * steps * m.weights();
  if (m.predecessors != nullptr) {
    const std::int64_t n = tables(m.predecessor_stride) * m.states * m.slots;
    for (std::int64_t i = 0; i < n; ++i) {
      if (m.predecessors[i] >= m.states) return {Fault::kPredecessor};
    }
  }
  if (m.predecessors == nullptr) {
    if (detail::any_not_below_infinity(m.log_weight, all)) return {Fault::kWeight};
  } else if (detail::any_not_below_infinity(m.log_weight, all)) {
    // Weights of unused slots are ignored.
    const std::int64_t table = m.states * m.slots;
    for (std::int64_t i = 0; i < all; ++i) {
      const std::int64_t sequence = m.weight_stride == 0 ? 0 : i / (steps * table);
      const std::int64_t used = m.predecessors[sequence * m.predecessor_stride + i % table];
      if (used >= 0 && !(m.log_weight[i] <= std::numeric_limits<Real>::max())) return {Fault::kWeight};
    }
  }
  for (std::int64_t b = 0; b < m.batch; ++b) {
    const Real* frames = m.log_emission + b * m.frames * m.densities;
    if (detail::any_not_below_infinity(frames, m.lengths[b] * m.densities)) return {Fault::kEmission};
  }
  if (detail::any_not_below_infinity(m.log_final, tables(m.final_stride) * m.states)) return {Fault::kFinal};
  return {};
}

}  // namespace hmm
