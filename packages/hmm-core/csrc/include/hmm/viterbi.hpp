// Viterbi decoding: the best path of each sequence, and its score.
//
// The definition, and what is promised about the order of additions, stands in viterbi_sparse.hpp and
// viterbi_dense.hpp.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/executor.hpp"
#include "hmm/fault.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/model.hpp"
#include "hmm/viterbi_dense.hpp"
#include "hmm/viterbi_sparse.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Joint log-probability of a path, summed in double precision: emissions, arcs, and the two ends.
template <typename Real>
double path_score(const Model<Real>& m, std::int64_t b, const std::int64_t* states) {
  const std::int64_t length = m.lengths[b];
  if (length == 0) return 0.0;
  if (states[0] < 0) return -std::numeric_limits<double>::infinity();
  const Real* emission = m.log_emission + b * m.frames * m.densities;
  const std::int64_t* index = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
  const std::int64_t* predecessors = m.dense() ? nullptr : m.predecessors + b * m.predecessor_stride;
  const Real* weight = m.log_weight + b * m.weight_stride;
  double emissions = 0.0;
  for (std::int64_t t = 0; t < length; ++t)
    emissions +=
        static_cast<double>(emission[t * m.densities + (index == nullptr ? states[t] : index[states[t]])]);
  double arcs = 0.0;
  for (std::int64_t t = 1; t < length; ++t) {
    const std::int64_t source = states[t - 1];
    const Real* step = weight + (t - 1) * m.weight_step;
    if (m.dense()) {
      arcs += static_cast<double>(step[source * m.states + states[t]]);
      continue;
    }
    // Predecessors ascend; without a branch, because where a path moves on cannot be foreseen.
    const std::int64_t first = states[t] * m.slots;
    std::int64_t slot = 0;
    for (std::int64_t r = 0; r < m.slots; ++r) {
      slot += static_cast<std::uint64_t>(predecessors[first + r]) < static_cast<std::uint64_t>(source);
    }
    arcs += static_cast<double>(step[first + slot]);
  }
  const double ends = static_cast<double>(m.log_initial[b * m.initial_stride + states[0]]) +
                      static_cast<double>(m.log_final[b * m.final_stride + states[length - 1]]);
  return emissions + arcs + ends;
}

inline std::int64_t square_root(std::int64_t n) {
  std::int64_t root = 0;
  while (root * root < n) ++root;
  return root;
}

}  // namespace detail

// How much a decoder may keep: everything while that is below kFullMemory bytes, everything, or O(sqrt(T) K).
enum class ViterbiMemory : int { kAuto = 0, kFull = 1, kLinear = 2 };
constexpr double kFullMemory = 1024.0 * 1024.0 * 1024.0;

// What a search with a beam is told and tells: states more than `width` below the best of their frame are
// dropped; how far below it each path ran at most (B,), and whether the path is certainly the best (B,).
template <typename Real>
struct Beam {
  Real width = 0;
  Real* depth = nullptr;
  bool* exact = nullptr;
};

// Best path (B, T) of each sequence, -1 after its end and where no path exists, and its score (B,), -inf
// where no path exists. Checks the emissions, but nothing else (find_table_fault does): where each state
// reads its own, while it decodes, so that much memory is read once. After a fault there are no results.
//
// With a beam, for sparse transitions only, the best path of those that it leaves; a sequence of which it
// leaves none is decoded again without.
template <typename Real>
Fault viterbi(const Model<Real>& m, const Executor& executor, ViterbiMemory memory, std::int64_t* states,
              Real* log_score, const Beam<Real>* beam = nullptr) {
  if (m.batch == 0) return {};
  if (m.dense() || m.emission_index != nullptr) {
    const Fault fault = find_emission_fault(m, executor);
    if (fault.kind != Fault::kNone) return fault;
  }
  const std::int64_t T = m.frames;
  const std::int64_t steps = T > 1 ? T - 1 : 1;
  const std::int64_t arcs_in = m.dense() ? m.states : m.slots;
  // What a frame keeps of a sequence, and a mark.
  const double row = m.dense() ? static_cast<double>(m.states) * sizeof(Real)
                               : static_cast<double>(m.states) * detail::bits_for(m.slots) / 8 + 1;
  const double mark = static_cast<double>(m.states) * sizeof(Real);
  const auto score = [&](std::int64_t b) {
    log_score[b] = static_cast<Real>(detail::path_score(m, b, states + b * T));
  };
  // Nanoseconds of a frame, and those that a member of a team must have of it.
  const double frame = static_cast<double>(m.states) * static_cast<double>(arcs_in) / (m.dense() ? 16 : 6);
  const double least = m.dense() ? 3000 : 2000;
  const double effort = static_cast<double>(m.batch) * static_cast<double>(T) * (frame + 20);
  const int members =
      m.batch < executor.threads && beam == nullptr ? useful_members(executor, frame, least, effort) : 1;
  const int threads = members > 1 ? 1 : useful_threads(executor, m.batch, effort);
  std::int64_t group = (m.batch + threads - 1) / threads;
  const std::int64_t most = m.dense() ? detail::kDenseGroup : detail::kSparseGroup;
  if (group > most) group = most;
  if (beam != nullptr || (members > 1 && !m.dense())) group = 1;
  std::int64_t segment = steps;
  const double full = row * static_cast<double>(T) * static_cast<double>(group * threads);
  if (memory == ViterbiMemory::kLinear || (memory == ViterbiMemory::kAuto && full > kFullMemory)) {
    // s frames of rows and T / s marks together are least at s = sqrt(T mark / row).
    segment = detail::square_root(static_cast<std::int64_t>(static_cast<double>(steps) * mark / row));
    if (segment > steps) segment = steps;
    group = 1;
  }
  const std::int64_t groups = (m.batch + group - 1) / group;
  if (m.dense()) {
    detail::viterbi_dense(m, executor, members, effort, group, segment, states, score);
    return {};
  }
  detail::ArcTable<Real> shared;
  const bool one = m.predecessor_stride == 0 && m.weight_stride == 0 && m.weight_step == 0;
  if (one) {
    bool alike = true;
    for (std::int64_t b = 0; alike && b < (m.index_stride == 0 ? 1 : m.batch); ++b)
      alike = detail::even_alike(
          m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride, m.states);
    shared.open(m.states, m.slots, m.predecessors, m.log_weight, alike);
  }
  // The longest first: sequences of about the same length step together to their ends.
  const LongestFirst order(m.lengths, m.batch, T);
  bool stray = false;
  using Group = detail::SparseGroup<Real>;
  for_each_item<Group>(executor, groups, members, effort,
                       [&](std::int64_t item, Group& sequences, Team& team) {
                         const std::int64_t begin = item * group;
                         const std::int64_t end = begin + group < m.batch ? begin + group : m.batch;
                         const auto decode = [&](const Real* width) {
                           sequences.decode(m, one ? &shared : nullptr, order.data() + begin,
                                            static_cast<int>(end - begin), segment, states, team, width);
                         };
                         decode(beam == nullptr ? nullptr : &beam->width);
                         if (sequences.stray()) __atomic_store_n(&stray, true, __ATOMIC_RELAXED);
                         if (beam != nullptr && !sequences.stray()) {
                           bool exact = !sequences.dropped();
                           if (!exact && !sequences.found()) {
                             const Real everything = std::numeric_limits<Real>::infinity();
                             decode(&everything);
                             exact = true;
                           }
                           beam->exact[order[begin]] = exact;
                           beam->depth[order[begin]] = sequences.found() ? sequences.depth() : Real{0};
                         }
                         for (std::int64_t i = begin; i < end; ++i) score(order[i]);
                       });
  if (stray) return {Fault::kEmission};
  return {};
}

HMM_END_TARGET
