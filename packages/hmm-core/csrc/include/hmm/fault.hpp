// The check of values before a kernel runs: a scan of everything that will be read, at the speed of memory.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/lanes.hpp"
#include "hmm/model.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Whether a value is NaN or +inf.
template <typename Real>
bool any_not_finite_above(const Real* values, std::int64_t n) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr std::int64_t kLook = 64;  // vectors between two looks at what was found
  std::int64_t i = 0;
  while (i + L <= n) {
    Strays<Real> strays;
    for (std::int64_t left = kLook; left > 0 && i + L <= n; --left, i += L) strays.see(load<V>(values + i));
    if (strays.any()) return true;
  }
  Strays<Real> strays;
  strays.see(load_part(values + i, n - i, Real{0}));
  return strays.any();
}

}  // namespace detail

// The first argument but the emissions that breaks a rule: lengths in 0..T; indices in range; no NaN and no
// +inf in what is read.
template <typename Real>
Fault find_table_fault(const Model<Real>& m) {
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
  if (detail::any_not_finite_above(m.log_initial, tables(m.initial_stride) * m.states))
    return {Fault::kInitial};
  const std::int64_t steps = m.weight_step == 0 ? 1 : m.frames - 1;
  const std::int64_t all = tables(m.weight_stride) * steps * m.weights();
  if (m.predecessors != nullptr) {
    const std::int64_t n = tables(m.predecessor_stride) * m.states * m.slots;
    for (std::int64_t i = 0; i < n; ++i) {
      if (m.predecessors[i] >= m.states) return {Fault::kPredecessor};
    }
  }
  if (detail::any_not_finite_above(m.log_weight, all)) {
    if (m.predecessors == nullptr) return {Fault::kWeight};
    // Weights of unused slots are ignored.
    const std::int64_t table = m.states * m.slots;
    for (std::int64_t i = 0; i < all; ++i) {
      const std::int64_t sequence = m.weight_stride == 0 ? 0 : i / (steps * table);
      const std::int64_t used = m.predecessors[sequence * m.predecessor_stride + i % table];
      if (used >= 0 && !(m.log_weight[i] <= std::numeric_limits<Real>::max())) return {Fault::kWeight};
    }
  }
  if (detail::any_not_finite_above(m.log_final, tables(m.final_stride) * m.states)) return {Fault::kFinal};
  return {};
}

// The same of the emissions, of which the other arguments tell what is read.
template <typename Real>
Fault find_emission_fault(const Model<Real>& m, const Executor& executor) {
  // In pieces of a size: short sequences share a core, a long one is shared.
  constexpr std::int64_t kPiece = std::int64_t{1} << 17;
  const std::int64_t longest = m.frames * m.densities;
  const std::int64_t pieces = (longest + kPiece - 1) / kPiece;
  const double work = static_cast<double>(m.batch) * static_cast<double>(longest) * sizeof(Real) / 40;
  const int threads = useful_threads(executor, m.batch * pieces, work);
  PerWorker<int> wrong(threads);
  for (int worker = 0; worker < threads; ++worker) wrong[worker] = 0;
  parallel_for(executor, m.batch * pieces, threads, [&](std::int64_t item, int worker) {
    const std::int64_t b = item / pieces;
    const std::int64_t begin = item % pieces * kPiece;
    const std::int64_t end =
        m.lengths[b] * m.densities < begin + kPiece ? m.lengths[b] * m.densities : begin + kPiece;
    if (begin < end && wrong[worker] == 0)
      wrong[worker] = detail::any_not_finite_above(m.log_emission + b * longest + begin, end - begin);
  });
  for (int worker = 0; worker < threads; ++worker) {
    if (wrong[worker] != 0) return {Fault::kEmission};
  }
  return {};
}

// The first argument that breaks a rule.
template <typename Real>
Fault find_fault(const Model<Real>& m, const Executor& executor = Executor{}) {
  const Fault fault = find_table_fault(m);
  return fault.kind != Fault::kNone ? fault : find_emission_fault(m, executor);
}

HMM_END_TARGET
