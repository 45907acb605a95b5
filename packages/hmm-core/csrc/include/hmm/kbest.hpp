// The N best paths of each sequence: Viterbi with a list of the best N scores for each state.
//
//   delta[0, j] = [log_initial[j] + log_emission[0, j]]
//   delta[t, j] = the N greatest of (delta[t-1, i][n] + log_weight[t-1, i, j]) + log_emission[t, j]
//
// The lists of the predecessors are sorted, so that theirs are merged: the next entry is the greatest of the
// heads, the lowest predecessor's where heads are equal. Scores are relative to the best of each frame, and
// additions happen in the order of the Python reference.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/model.hpp"
#include "hmm/viterbi.hpp"

HMM_BEGIN_TARGET

namespace detail {

template <typename Real>
class ListDecoder {
 public:
  // States of the paths of sequence b: path n at states + n * path_step.
  void decode(const Model<Real>& m, std::int64_t b, std::int64_t N, std::int64_t* states,
              std::int64_t path_step) {
    const std::int64_t K = m.states;
    const std::int64_t T = m.frames;
    const std::int64_t length = m.lengths[b];
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t t = 0; t < T; ++t) states[n * path_step + t] = -1;
    }
    if (length == 0) return;
    const Real* log_initial = m.log_initial + b * m.initial_stride;
    const Real* log_final = m.log_final + b * m.final_stride;
    const Real* log_weight = m.log_weight + b * m.weight_stride;
    const Real* log_emission = m.log_emission + b * T * m.densities;
    const std::int64_t* index = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
    const std::int64_t* predecessors = m.dense() ? nullptr : m.predecessors + b * m.predecessor_stride;
    const std::int64_t R = m.dense() ? K : m.slots;
    Real* previous = previous_.reserve(K * N);
    Real* score = score_.reserve(K * N);
    Entry* back = back_.reserve((length - 1) * K * N);
    head_.reserve(R);
    rank_.reserve(R);
    for (std::int64_t i = 0; i < K * N; ++i) previous[i] = kNever<Real>;
    for (std::int64_t j = 0; j < K; ++j) previous[j * N] = log_initial[j];
    for (std::int64_t t = 0; t < length; ++t) {
      const Real* densities = log_emission + t * m.densities;
      const Real* weight = log_weight + (t - 1) * m.weight_step;
      Real top = kNever<Real>;
      for (std::int64_t j = 0; j < K; ++j) {
        Real* list = score + j * N;
        if (t == 0) {
          for (std::int64_t n = 0; n < N; ++n) list[n] = previous[j * N + n];
        } else {
          merge(m, predecessors, weight, j, N, R, list, back + ((t - 1) * K + j) * N);
        }
        const Real emission = densities[index == nullptr ? j : index[j]];
        for (std::int64_t n = 0; n < N; ++n) list[n] = list[n] + emission;
        top = list[0] > top ? list[0] : top;
      }
      if (!(top > kNever<Real>)) return;  // No path reaches this frame.
      for (std::int64_t i = 0; i < K * N; ++i) previous[i] = score[i] - top;
    }
    // The lists of all states merge into one.
    Buffer<std::int64_t>& next = rank_of_state_;
    next.reserve(K);
    for (std::int64_t j = 0; j < K; ++j) next[j] = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      Real best = kNever<Real>;
      std::int64_t state = -1;
      for (std::int64_t j = 0; j < K; ++j) {
        if (next[j] == N) continue;
        const Real total = previous[j * N + next[j]] + log_final[j];
        if (total > best) {
          best = total;
          state = j;
        }
      }
      if (state < 0) return;  // There are fewer paths.
      std::int64_t rank = next[state]++;
      std::int64_t* path = states + n * path_step;
      path[length - 1] = state;
      for (std::int64_t t = length - 1; t > 0; --t) {
        const Entry& entry = back[((t - 1) * K + state) * N + rank];
        rank = entry.rank;
        state = entry.state;
        path[t - 1] = state;
      }
    }
  }

 private:
  struct Entry {
    std::int32_t state, rank;
  };

  // The N best ways into state j.
  void merge(const Model<Real>& m, const std::int64_t* predecessors, const Real* weight, std::int64_t j,
             std::int64_t N, std::int64_t R, Real* list, Entry* back) {
    const std::int64_t* source = predecessors == nullptr ? nullptr : predecessors + j * R;
    std::int64_t used = 0;
    for (; used < R && (source == nullptr || source[used] >= 0); ++used) {
      const std::int64_t from = source == nullptr ? used : source[used];
      head_[used] = previous_[from * N] + arc(m, weight, from, j, used);
      rank_[used] = 0;
    }
    for (std::int64_t n = 0; n < N; ++n) {
      Real best = kNever<Real>;
      std::int64_t slot = -1;
      for (std::int64_t r = 0; r < used; ++r) {
        if (head_[r] > best) {
          best = head_[r];
          slot = r;
        }
      }
      list[n] = best;
      if (slot < 0) {  // Nothing follows that is possible.
        for (; n < N; ++n) {
          list[n] = kNever<Real>;
          back[n] = {0, 0};
        }
        return;
      }
      const std::int64_t from = source == nullptr ? slot : source[slot];
      back[n] = {static_cast<std::int32_t>(from), static_cast<std::int32_t>(rank_[slot])};
      const std::int64_t rank = ++rank_[slot];
      head_[slot] = rank == N ? kNever<Real> : previous_[from * N + rank] + arc(m, weight, from, j, slot);
    }
  }

  HMM_INLINE Real arc(const Model<Real>& m, const Real* weight, std::int64_t from, std::int64_t to,
                      std::int64_t slot) const {
    return m.dense() ? weight[from * m.states + to] : weight[to * m.slots + slot];
  }

  Buffer<Real> previous_, score_, head_;
  Buffer<std::int64_t> rank_, rank_of_state_;
  Buffer<Entry> back_;
};

}  // namespace detail

// The N best paths (N, B, T) of each sequence and their scores (N, B); -1 and -inf where there are fewer.
template <typename Real>
void kbest(const Model<Real>& m, const Executor& executor, std::int64_t N, std::int64_t* states,
           Real* log_score) {
  const double arcs = static_cast<double>(m.batch) * static_cast<double>(m.frames) *
                      static_cast<double>(m.states) * static_cast<double>(m.dense() ? m.states : m.slots);
  const int threads = useful_threads(executor, m.batch, arcs * static_cast<double>(N) * 4);
  PerWorker<detail::ListDecoder<Real>> workers(threads);
  for_each_sequence(m, executor, threads, [&](std::int64_t b, int worker) {
    std::int64_t* first = states + b * m.frames;
    workers[worker].decode(m, b, N, first, m.batch * m.frames);
    for (std::int64_t n = 0; n < N; ++n) {
      const double score = detail::path_score(m, b, first + n * m.batch * m.frames);
      // A sequence without frames has one path, the empty one.
      log_score[n * m.batch + b] =
          n > 0 && m.lengths[b] == 0 ? detail::kNever<Real> : static_cast<Real>(score);
    }
  });
}

HMM_END_TARGET
