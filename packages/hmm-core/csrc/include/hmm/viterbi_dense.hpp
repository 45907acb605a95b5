// Viterbi with dense transitions.
//
//   delta[0, j] = log_initial[j] + log_emission[0, j]
//   delta[t, j] = max_i (delta[t-1, i] + log_weight[t-1, i, j]) + log_emission[t, j]
//
// Scores are relative to the best state of each frame. Additions happen in the order of the Python reference,
// and the first maximum wins, so that the paths are the same to the bit. Compile with -ffp-contract=off to
// keep that promise. No back-pointers: the scores of all frames are kept, and the arc is looked for again, by
// the same additions, only where the path passes.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/lanes.hpp"
#include "hmm/model.hpp"
#include "hmm/team.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Sequences whose steps run together, so that the matrix is read once for all of them; vectors of targets
// that one pass over the sources works on. Together they fill the registers.
constexpr std::int64_t kDenseGroup = HMM_VECTOR_BYTES == 64 ? 4 : 2;
constexpr std::int64_t kDenseVectors = HMM_VECTOR_BYTES == 64 ? 5 : 4;

// best[s][v] = max_i (delta[s][i] + weight[i][v]) for S rows of delta and best, and V vectors of targets. The
// pragmas keep `most` in registers.
template <typename Real, int S, int V>
void max_plus(const Real* delta, std::int64_t pitch, const Real* weight, std::int64_t count, Real* best) {
  using Vector = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  const Adder<Real> add;
  Vector most[S][V];
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) most[s][v] = splat<Vector>(-std::numeric_limits<Real>::infinity());
  }
  for (std::int64_t i = 0; i < count; ++i) {
    Vector row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] = load<Vector>(weight + (i * V + v) * L);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const Vector one = splat<Vector>(delta[s * pitch + i]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) most[s][v] = max(add(one, row[v]), most[s][v]);
    }
  }
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(best + s * pitch + v * L, most[s][v]);
  }
}

// Vectors of targets that lie together: all panels are about equally wide.
struct Panel {
  std::int64_t first, width;

  static std::int64_t count(std::int64_t vectors) { return (vectors + kDenseVectors - 1) / kDenseVectors; }
  Panel(std::int64_t panel, std::int64_t vectors) {
    const std::int64_t panels = count(vectors);
    const std::int64_t wider = vectors % panels;  // the first ones, by a vector
    width = vectors / panels + (panel < wider ? 1 : 0);
    first = vectors / panels * panel + (panel < wider ? panel : wider);
  }
};

// The same for all targets, panel by panel.
template <typename Real, int S>
void max_plus_all(const Real* delta, std::int64_t pitch, const Real* panels, std::int64_t count, Real* best,
                  Team& team) {
  constexpr std::int64_t L = kLanes<Real>;
  const std::int64_t vectors = pitch / L;
  team.share(Panel::count(vectors), [&](std::int64_t item, int) {
    const Panel panel(item, vectors);
    const Real* weight = panels + panel.first * L * count;
    Real* to = best + panel.first * L;
    if (team.members() > 1) fetch(delta, S * pitch);
    switch (panel.width) {
      case 1:
        max_plus<Real, S, 1>(delta, pitch, weight, count, to);
        break;
      case 2:
        max_plus<Real, S, 2>(delta, pitch, weight, count, to);
        break;
      case 3:
        max_plus<Real, S, 3>(delta, pitch, weight, count, to);
        break;
      case 4:
        max_plus<Real, S, 4>(delta, pitch, weight, count, to);
        break;
      default:
        max_plus<Real, S, static_cast<int>(kDenseVectors)>(delta, pitch, weight, count, to);
        break;
    }
  });
  if (team.members() > 1) fetch(best, S * pitch);
}

// The matrix (K, K) in panels of a few vectors of targets, source after source, so that a pass over the
// sources reads memory in order; -inf behind the last state.
template <typename Real>
void pack_panels(const Real* matrix, std::int64_t K, std::int64_t pitch, Real* to, Team& team) {
  constexpr std::int64_t L = kLanes<Real>;
  const std::int64_t vectors = pitch / L;
  team.share(Panel::count(vectors), [&](std::int64_t item, int) {
    const Panel panel(item, vectors);
    const std::int64_t first = panel.first * L;
    const std::int64_t end = first + panel.width * L;
    const std::int64_t inside = end < K ? end : K;
    Real* at = to + first * K;
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = first; j < inside; ++j) *at++ = matrix[i * K + j];
      for (std::int64_t j = inside; j < end; ++j) *at++ = -std::numeric_limits<Real>::infinity();
    }
  });
}

template <typename Real>
void pad_transposed(const Real* matrix, std::int64_t K, std::int64_t pitch, Real* to) {
  constexpr std::int64_t kBlock = 16;  // rows that stay in the cache
  for (std::int64_t first = 0; first < K; first += kBlock) {
    const std::int64_t end = first + kBlock < K ? first + kBlock : K;
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = first; j < end; ++j) to[j * pitch + i] = matrix[i * K + j];
    }
  }
  for (std::int64_t j = 0; j < K; ++j) {
    for (std::int64_t i = K; i < pitch; ++i) to[j * pitch + i] = -std::numeric_limits<Real>::infinity();
  }
}

// First lane that is not less than any lane, of n vectors whose greatest lanes are in `most`.
template <typename Real, typename Sum>
HMM_INLINE std::int64_t first_equal(Vec<Real> most, std::int64_t n, Sum&& sum) {
  const Vec<Real> best = splat<Vec<Real>>(largest_lane<Real>(most));
  for (std::int64_t v = 0; v < n; ++v) {
    // Nothing is greater than the best: what is not less is equal.
    const std::uint32_t less = greater_bits(best, sum(v));
    const std::uint32_t equal = ~less & static_cast<std::uint32_t>((std::uint64_t{1} << kLanes<Real>)-1);
    if (equal != 0) return v * kLanes<Real> + __builtin_ctz(equal);
  }
  return 0;
}

template <typename Real, int V>
HMM_INLINE std::int64_t first_best_of(const Real* delta, const Real* weight) {
  constexpr std::int64_t L = kLanes<Real>;
  Vec<Real> sum[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) sum[v] = load<Vec<Real>>(delta + v * L) + load<Vec<Real>>(weight + v * L);
  Vec<Real> most = sum[0];
#pragma GCC unroll 4
  for (int v = 1; v < V; ++v) most = max(sum[v], most);
  return first_equal<Real>(most, V, [&](std::int64_t v) { return sum[v]; });
}

// First index of the greatest value of delta[i] + weight[i]; both are whole vectors, -inf behind the end.
template <typename Real>
std::int64_t first_best(const Real* delta, const Real* weight, std::int64_t pitch) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  switch (pitch / L) {
    case 1:
      return first_best_of<Real, 1>(delta, weight);
    case 2:
      return first_best_of<Real, 2>(delta, weight);
    case 3:
      return first_best_of<Real, 3>(delta, weight);
    case 4:
      return first_best_of<Real, 4>(delta, weight);
    default:
      break;
  }
  V most = load<V>(delta) + load<V>(weight);
  for (std::int64_t i = L; i < pitch; i += L) most = max(load<V>(delta + i) + load<V>(weight + i), most);
  return first_equal<Real>(most, pitch / L,
                           [&](std::int64_t v) { return load<V>(delta + v * L) + load<V>(weight + v * L); });
}

// Sequences that share their matrices, or one.
template <typename Real>
class DenseGroup {
 public:
  // Decodes sequences begin..end-1. The scores of `segment` frames are kept at a time. `panels` and
  // `transposed` are the matrix that all steps of all sequences share, null if there is none.
  void decode(const Model<Real>& m, const Real* panels, const Real* transposed, std::int64_t begin,
              std::int64_t end, std::int64_t segment, std::int64_t* states, Team& team) {
    model_ = &m;
    team_ = &team;
    const std::int64_t K = m.states;
    pitch_ = padded<Real>(K);
    count_ = 0;
    // The longest first: those that still run are a prefix.
    for (std::int64_t b = begin; b < end; ++b) {
      for (std::int64_t t = 0; t < m.frames; ++t) states[b * m.frames + t] = -1;
      if (m.lengths[b] == 0) continue;
      std::int64_t place = count_++;
      for (; place > 0 && m.lengths[sequence_[place - 1]] < m.lengths[b]; --place)
        sequence_[place] = sequence_[place - 1];
      sequence_[place] = b;
    }
    if (count_ == 0) return;
    const std::int64_t steps = m.lengths[sequence_[0]] - 1;
    const std::int64_t segments = steps == 0 ? 1 : (steps + segment - 1) / segment;
    const std::int64_t rows = (steps < segment ? steps : segment) + 1;
    if (panels == nullptr && m.weight_step == 0) {
      const Real* own = m.log_weight + sequence_[0] * m.weight_stride;
      own_.reserve(2 * K * pitch_);
      pack_panels(own, K, pitch_, own_.data(), team);
      pad_transposed(own, K, pitch_, own_.data() + K * pitch_);
      panels = own_.data();
      transposed = own_.data() + K * pitch_;
    } else if (m.weight_step != 0) {
      own_.reserve(K * pitch_);
      column_.reserve(pitch_);
    }
    panels_ = panels;
    transposed_ = transposed;
    best_.reserve(kDenseGroup * pitch_);
    emission_.reserve(pitch_);
    rows_.reserve(rows * count_ * pitch_);
    if (segments > 1) marks_.reserve(segments * count_ * pitch_);
    for (std::int64_t s = 0; s < count_; ++s) {
      const std::int64_t b = sequence_[s];
      for (std::int64_t j = 0; j < K; ++j) best_[s * pitch_ + j] = m.log_initial[b * m.initial_stride + j];
      for (std::int64_t j = K; j < pitch_; ++j)
        best_[s * pitch_ + j] = -std::numeric_limits<Real>::infinity();
      possible_[s] = true;
      complete(s, 0, row(0, s));
    }
    for (std::int64_t g = 0; g < segments; ++g) {
      if (g > 0) copy(row(segment, 0), row(0, 0));
      if (segments > 1) copy(row(0, 0), marks_.data() + g * count_ * pitch_);
      sweep(g * segment, g * segment + segment < steps ? g * segment + segment : steps);
    }
    // Backwards.
    for (std::int64_t g = segments - 1; g >= 0; --g) {
      const std::int64_t start = g * segment;
      const std::int64_t stop = start + segment < steps ? start + segment : steps;
      if (g < segments - 1) {
        copy(marks_.data() + g * count_ * pitch_, row(0, 0));
        sweep(start, stop);
      }
      for (std::int64_t t = stop; t >= start; --t) {
        for (std::int64_t s = 0; s < count_; ++s) {
          const std::int64_t b = sequence_[s];
          std::int64_t* path = states + b * m.frames;
          const std::int64_t last = m.lengths[b] - 1;
          if (!possible_[s] || t > last) continue;
          if (t == last) finish(s, row(t - start, s), path + t);
          if (possible_[s] && t > start) state_[s] = path[t - 1] = origin(s, t, row(t - start - 1, s));
        }
      }
    }
  }

 private:
  HMM_INLINE Real* row(std::int64_t frame, std::int64_t s) {
    return rows_.data() + (frame * count_ + s) * pitch_;
  }

  void copy(const Real* from, Real* to) {
    for (std::int64_t i = 0; i < count_ * pitch_; ++i) to[i] = from[i];
  }

  // Frames start+1..stop from frame `start`, which is in row 0.
  void sweep(std::int64_t start, std::int64_t stop) {
    const Model<Real>& m = *model_;
    const std::int64_t K = m.states;
    std::int64_t running = count_;
    for (std::int64_t t = start + 1; t <= stop; ++t) {
      while (running > 0 && t >= m.lengths[sequence_[running - 1]]) --running;
      const Real* matrix = panels_;
      if (m.weight_step != 0) {
        pack_panels(m.log_weight + sequence_[0] * m.weight_stride + (t - 1) * m.weight_step, K, pitch_,
                    own_.data(), *team_);
        matrix = own_.data();
      }
      const Real* delta = row(t - start - 1, 0);
      Real* best = best_.data();
      switch (running) {
        case 1:
          max_plus_all<Real, 1>(delta, pitch_, matrix, K, best, *team_);
          break;
        case 2:
          max_plus_all<Real, 2>(delta, pitch_, matrix, K, best, *team_);
          break;
        case 3:
          max_plus_all<Real, 3>(delta, pitch_, matrix, K, best, *team_);
          break;
        default:
          max_plus_all<Real, static_cast<int>(kDenseGroup)>(delta, pitch_, matrix, K, best, *team_);
          break;
      }
      for (std::int64_t s = 0; s < running; ++s) complete(s, t, row(t - start, s));
    }
  }

  // Adds the emissions of frame t to the best predecessors, and subtracts the frame's best.
  void complete(std::int64_t s, std::int64_t t, Real* delta) {
    using V = Vec<Real>;
    constexpr std::int64_t L = kLanes<Real>;
    const Model<Real>& m = *model_;
    const std::int64_t b = sequence_[s];
    const Real* densities = m.log_emission + (b * m.frames + t) * m.densities;
    if (m.emission_index != nullptr) {
      const std::int64_t* index = m.emission_index + b * m.index_stride;
      for (std::int64_t j = 0; j < m.states; ++j) emission_[j] = densities[index[j]];
      densities = emission_.data();
    }
    Real* best = best_.data() + s * pitch_;
    V top = splat<V>(-std::numeric_limits<Real>::infinity());
    std::int64_t j = 0;
    for (; j + L <= m.states; j += L) {
      const V score = load<V>(best + j) + load<V>(densities + j);
      store(best + j, score);
      top = max(score, top);
    }
    if (j < m.states) {
      const V score = load<V>(best + j) + load_part(densities + j, m.states - j, Real{0});
      store(best + j, score);
      top = max(score, top);
    }
    const Real most = largest_lane<Real>(top);
    possible_[s] = possible_[s] && most > -std::numeric_limits<Real>::infinity();
    const V shift = splat<V>(possible_[s] ? most : Real{0});
    for (j = 0; j < pitch_; j += L) store(delta + j, load<V>(best + j) - shift);
  }

  void finish(std::int64_t s, const Real* delta, std::int64_t* state) {
    const Real* log_final = model_->log_final + sequence_[s] * model_->final_stride;
    Real most = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < model_->states; ++j) {
      const Real total = delta[j] + log_final[j];
      if (total > most) {
        most = total;
        state_[s] = j;
      }
    }
    possible_[s] = most > -std::numeric_limits<Real>::infinity();
    if (possible_[s]) *state = state_[s];
  }

  // State before state_[s], which is that of frame t.
  std::int64_t origin(std::int64_t s, std::int64_t t, const Real* delta) {
    const Model<Real>& m = *model_;
    const Real* weight = transposed_ == nullptr ? column_.data() : transposed_ + state_[s] * pitch_;
    if (transposed_ == nullptr) {
      const Real* matrix =
          m.log_weight + sequence_[s] * m.weight_stride + (t - 1) * m.weight_step + state_[s];
      for (std::int64_t i = 0; i < m.states; ++i) column_[i] = matrix[i * m.states];
      for (std::int64_t i = m.states; i < pitch_; ++i) column_[i] = -std::numeric_limits<Real>::infinity();
    }
    return first_best(delta, weight, pitch_);
  }

  const Model<Real>* model_ = nullptr;
  Team* team_ = nullptr;
  const Real* panels_ = nullptr;
  const Real* transposed_ = nullptr;
  std::int64_t pitch_ = 0;
  std::int64_t count_ = 0;
  std::int64_t sequence_[kDenseGroup] = {};
  std::int64_t state_[kDenseGroup] = {};
  bool possible_[kDenseGroup] = {};
  Buffer<Real> own_, column_, best_, emission_, rows_, marks_;
};

template <typename Real, typename Score>
void viterbi_dense(const Model<Real>& m, const Executor& executor, int members, double effort,
                   std::int64_t group, std::int64_t segment, std::int64_t* states, Score&& score) {
  if (m.weight_stride != 0) group = 1;
  const std::int64_t K = m.states;
  const std::int64_t pitch = padded<Real>(K);
  Buffer<Real> matrix;
  const bool one = m.weight_stride == 0 && m.weight_step == 0;
  if (one) {
    matrix.reserve(2 * K * pitch);
    Team alone;
    pack_panels(m.log_weight, K, pitch, matrix.data(), alone);
    pad_transposed(m.log_weight, K, pitch, matrix.data() + K * pitch);
  }
  using Group = DenseGroup<Real>;
  const std::int64_t groups = (m.batch + group - 1) / group;
  for_each_item<Group>(
      executor, groups, members, effort, [&](std::int64_t item, Group& sequences, Team& team) {
        const std::int64_t begin = item * group;
        const std::int64_t end = begin + group < m.batch ? begin + group : m.batch;
        sequences.decode(m, one ? matrix.data() : nullptr, one ? matrix.data() + K * pitch : nullptr, begin,
                         end, segment, states, team);
        for (std::int64_t b = begin; b < end; ++b) score(b);
      });
}

}  // namespace detail

HMM_END_TARGET
