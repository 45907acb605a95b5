// Segmentations drawn from their posterior distribution: forward filtering, backward sampling.
//
//   last state i       ~ end[T, i] final[i]
//   its length d       ~ duration[j, d] start[t-d, j] emissions of j in frames t-d..t-1
//   state i before it  ~ end[t-d, i] transition[i, j]
//
// Random numbers come from the caller. O(T K (R + L)) time once; a sample takes O(L) a segment and keeps
// nothing; 16 bytes a state and frame of the sequence at hand are kept on each thread.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/semi_markov.hpp"

HMM_BEGIN_TARGET

namespace detail {

template <typename Input>
class SemiMarkovSampler {
 public:
  using Real = double;

  void draw(const SemiMarkovModel<Input>& model, const SharedTables<Real, Input>& shared, std::int64_t b,
            std::int64_t samples, const double* uniform, std::int64_t* states, std::int64_t* durations) {
    const Model<Input>& m = model.hmm;
    model_ = &model;
    sequence_ = b;
    const std::int64_t between = m.batch * m.frames;
    states += b * m.frames;
    durations += b * m.frames;
    uniform += b * m.frames * 2;
    for (std::int64_t n = 0; n < samples; ++n) {
      for (std::int64_t t = 0; t < m.frames; ++t) states[n * between + t] = durations[n * between + t] = -1;
    }
    if (m.lengths[b] == 0) return;
    pass_.open(model, shared, b);
    const std::int64_t K = m.states, size = pass_.size(), length = pass_.length();
    log_end_.reserve(length * size);
    log_start_.reserve(length * size);
    const Input* log_initial = m.log_initial + b * m.initial_stride;
    for (std::int64_t j = 0; j < K; ++j) log_start_[j] = static_cast<Real>(log_initial[j]);
    const ExtendedScalar<Real> total = pass_.forward([&](std::int64_t t) {
      keep(pass_.end(), log_end_.data() + (t - 1) * size);
      if (t < length) keep(pass_.start(), log_start_.data() + t * size);
    });
    if (total.m == 0) return;
    std::int64_t most = K > model.longest ? K : model.longest;
    most = m.slots > most ? m.slots : most;
    score_.reserve(padded<Real>(most));
    for (std::int64_t n = 0; n < samples; ++n)
      draw_one(uniform + n * between * 2, states + n * between, durations + n * between);
  }

 private:
  // Natural logarithms of boundary weights.
  void keep(const ExtendedArray<Real>& from, Real* to) const {
    const Real base = static_cast<Real>(pass_.base());
    for (std::int64_t j = 0; j < pass_.size(); j += kLanes<Real>) {
      const Extended<Real> x = from.load(j);
      Vec<Real> e{};
      for (std::int64_t l = 0; l < kLanes<Real>; ++l) e[l] = static_cast<Real>(x.e[l]) + base;
      const Vec<Real> value = log(x.m) + e * 0.69314718055994530942;
      store(to + j, x.m == 0 ? splat<Vec<Real>>(-std::numeric_limits<Real>::infinity()) : value);
    }
  }

  // uniform (T, 2): row t-1 chooses what ends at boundary t, the length first, then the state.
  void draw_one(const double* uniform, std::int64_t* states, std::int64_t* durations) {
    const SemiMarkovModel<Input>& model = *model_;
    const Model<Input>& m = model.hmm;
    const std::int64_t K = m.states, L = model.longest, size = pass_.size(), n = pass_.length();
    const Input* log_final = m.log_final + sequence_ * m.final_stride;
    const Input* log_duration = model.log_duration + sequence_ * model.duration_stride;
    const Input* frames = m.log_emission + sequence_ * m.frames * m.densities;
    const std::int64_t* index =
        m.emission_index == nullptr ? nullptr : m.emission_index + sequence_ * m.index_stride;
    const Input* weight = m.log_weight + sequence_ * m.weight_stride;
    const std::int64_t* predecessors =
        m.dense() ? nullptr : m.predecessors + sequence_ * m.predecessor_stride;

    for (std::int64_t j = 0; j < K; ++j)
      score_[j] = log_end_[(n - 1) * size + j] + static_cast<Real>(log_final[j]);
    std::int64_t j = choose(K, uniform[(n - 1) * 2 + 1]);
    for (std::int64_t t = n;;) {
      const std::int64_t longest = t < L ? t : L;
      const std::int64_t density = index == nullptr ? j : index[j];
      Real emission = 0;
      for (std::int64_t d = 1; d <= longest; ++d) {
        emission += static_cast<Real>(frames[(t - d) * m.densities + density]);
        const bool last = t == n, first = d == t;
        const SegmentKind kind = first ? (last ? kOnly : kFirst) : (last ? kLast : kInner);
        const Real duration = static_cast<Real>(log_duration[(model.table(kind) * K + j) * L + d - 1]);
        score_[d - 1] = log_start_[(t - d) * size + j] + emission + duration;
      }
      const std::int64_t d = choose(longest, uniform[(t - 1) * 2]) + 1;
      t -= d;
      for (std::int64_t s = t; s < t + d; ++s) {
        states[s] = j;
        durations[s] = 0;
      }
      durations[t] = d;
      if (t == 0) return;
      const std::int64_t slots = m.dense() ? K : m.slots;
      for (std::int64_t r = 0; r < slots; ++r) {
        const std::int64_t source = m.dense() ? r : predecessors[j * slots + r];
        score_[r] = source < 0 ? -std::numeric_limits<Real>::infinity()
                               : log_end_[(t - 1) * size + source] +
                                     static_cast<Real>(weight[m.dense() ? r * K + j : j * slots + r]);
      }
      const std::int64_t slot = choose(slots, uniform[(t - 1) * 2 + 1]);
      j = m.dense() ? slot : predecessors[j * slots + slot];
    }
  }

  // Index of score_ with probability proportional to its exponential.
  std::int64_t choose(std::int64_t n, double uniform) {
    Real highest = score_[0];
    for (std::int64_t i = 1; i < n; ++i) highest = score_[i] > highest ? score_[i] : highest;
    for (std::int64_t i = n; i < padded<Real>(n); ++i) score_[i] = -std::numeric_limits<Real>::infinity();
    Real total = 0;
    for (std::int64_t i = 0; i < n; i += kLanes<Real>)
      store(score_.data() + i, exp<Real>(load<Vec<Real>>(score_.data() + i) - highest));
    std::int64_t possible = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      total += score_[i];
      possible = score_[i] > 0 ? i : possible;
    }
    Real sum = 0;
    for (std::int64_t i = 0; i < possible; ++i) {
      sum += score_[i];
      if (sum > uniform * total) return i;
    }
    return possible;
  }

  const SemiMarkovModel<Input>* model_ = nullptr;
  std::int64_t sequence_ = 0;
  SemiMarkovPass<Real, Input> pass_;
  Buffer<Real> log_end_, log_start_, score_;
};

}  // namespace detail

// Draws `samples` segmentations of each sequence with numbers `uniform` (samples, B, T, 2) in [0, 1): states
// and durations (samples, B, T) as semi_markov_viterbi() returns them.
template <typename Real>
void semi_markov_sample(const SemiMarkovModel<Real>& model, const Executor& executor, std::int64_t samples,
                        const double* uniform, std::int64_t* states, std::int64_t* durations) {
  const int threads =
      detail::semi_markov_threads<double>(model, executor, 4.0 + static_cast<double>(samples));
  const detail::SharedTables<double, Real> shared(model);
  PerWorker<detail::SemiMarkovSampler<Real>> samplers(threads);
  for_each_sequence(model.hmm, executor, threads, [&](std::int64_t b, int worker) {
    samplers[worker].draw(model, shared, b, samples, uniform, states, durations);
  });
}

HMM_END_TARGET
