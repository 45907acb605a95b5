// Viterbi with sparse transitions.
//
//   delta[0, j] = log_initial[j] + log_emission[0, j]
//   delta[t, j] = max_r (delta[t-1, predecessors[j, r]] + log_weight[t-1, j, r]) + log_emission[t, j]
//
// Scores are relative to the best state of each frame. Additions happen in the order of the Python reference,
// and the first maximum wins, so that the paths are the same to the bit. Compile with -ffp-contract=off to
// keep that promise. Back-pointers take log2(arcs into a state) bits, one plane for each bit.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/lanes.hpp"
#include "hmm/model.hpp"
#include "hmm/viterbi_arcs.hpp"

HMM_BEGIN_TARGET

namespace detail {

template <typename Real>
constexpr Real kNever = -std::numeric_limits<Real>::infinity();

// ---- Scores of one frame, a vector of states at a time. ----

// State k reads density k.
template <typename Real>
struct OwnEmission {
  const Real* frame;
  std::int64_t states;
  HMM_INLINE OwnEmission(const Real* densities, std::int64_t K, std::int64_t, const std::int32_t*)
      : frame(densities), states(K) {}
  HMM_INLINE Vec<Real> at(std::int64_t j) const {
    const std::int64_t left = states - j;
    if (left >= kLanes<Real>) return load<Vec<Real>>(frame + j);
    return load_part(frame + j, left > 0 ? left : 0, Real{0});
  }
};

// Through an index.
template <typename Real>
struct SharedEmission {
  const Real* frame;
  const std::int32_t* index;  // of whole chunks
  HMM_INLINE SharedEmission(const Real* densities, std::int64_t, std::int64_t, const std::int32_t* where)
      : frame(densities), index(where) {}
  HMM_INLINE Vec<Real> at(std::int64_t j) const { return gather(frame, index + j); }
};

// Through an index into so few densities that they stay in four registers.
template <typename Real>
struct FewEmissions {
  static constexpr std::int64_t kMost = kHasWindow ? 4 * kLanes<Real> : 0;
  const std::int32_t* index;
  Vec<Real> part[4];
  HMM_INLINE FewEmissions(const Real* densities, std::int64_t, std::int64_t P, const std::int32_t* where)
      : index(where) {
    constexpr std::int64_t L = kLanes<Real>;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t left = P - i * L;
      part[i] = left >= L ? load<Vec<Real>>(densities + i * L)
                          : load_part(densities + (left > 0 ? i * L : 0), left > 0 ? left : 0, Real{0});
    }
  }
  HMM_INLINE Vec<Real> at(std::int64_t j) const {
    constexpr std::int64_t L = kLanes<Real>;
    IntVec<Real> where;
    if constexpr (sizeof(Real) == 4) {
      where = load<IntVec<Real>>(index + j);
    } else {
      for (int l = 0; l < L; ++l) where[l] = index[j + l];
    }
    const Vec<Real> low = window<Real>(part[0], where, part[1]);
    const Vec<Real> high = window<Real>(part[2], where, part[3]);
    return (where & static_cast<typename Simd<Real>::Int>(2 * L)) != 0 ? high : low;
  }
};

// ---- One step. ----

// What a step reads and writes; `back` is the row of back-pointers, null to keep none.
template <typename Real>
struct StepArguments {
  const ArcTable<Real>* arcs;
  const Real* previous;
  Real* score;
  Real shift;
  std::int64_t begin, end;  // states, whole chunks
  const Real* densities;
  std::int64_t states;
  std::int64_t density_count;
  const std::int32_t* index;
  Unit<Real>* back;
};

// Bands of R distances; `kNear`: the last one is 0, and the others lie less than a vector below.
template <typename Real, int R, bool kNear, bool kRecord, typename Emission>
Vec<Real> step_band(const StepArguments<Real>& a) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  const Emission emission(a.densities, a.states, a.density_count, a.index);
  const V shift = splat<V>(a.shift);
  const Real* previous = a.previous;
  Real* score = a.score;
  Unit<Real>* back = a.back;
  const int planes = a.arcs->planes();
  const std::int64_t pitch = a.arcs->pitch();
  const Real* weight = a.arcs->weights();
  std::int64_t offset[R];
  IntVec<Real> where[R];
  for (int r = 0; r < R; ++r) {
    offset[r] = a.arcs->offsets()[r];
    for (int l = 0; l < L; ++l) where[r][l] = static_cast<typename Simd<Real>::Int>(l + L + offset[r]);
  }
  V top = splat<V>(kNever<Real>);
  V before = top;
  if constexpr (kNear) before = load<V>(previous + a.begin - L) - shift;
  for (std::int64_t chunk = a.begin; chunk < a.end; chunk += kChunk<Real>) {
    [[maybe_unused]] std::uint32_t won[4] = {};
    for (int k = 0; k < kVectors; ++k) {
      const std::int64_t j = chunk + k * L;
      V here{};
      if constexpr (kNear) here = load<V>(previous + j) - shift;
      const auto from = [&](int r) {
        if constexpr (kNear) {
          return r == R - 1 ? here : window<Real>(before, where[r], here);
        } else {
          return load<V>(previous + j + offset[r]) - shift;
        }
      };
      V best = from(0) + load<V>(weight + j);
      for (int r = 1; r < R; ++r) {
        const V other = from(r) + load<V>(weight + r * pitch + j);
        if constexpr (kRecord) won[r] |= greater_bits(other, best) << (k * L);
        best = max(other, best);
      }
      best = best + emission.at(j);
      store(score + j, best);
      top = max(best, top);
      before = here;
    }
    if constexpr (kRecord && R > 1) {
      Unit<Real>* unit = back + chunk / kChunk<Real> * planes;
      if constexpr (R == 2) {
        unit[0] = static_cast<Unit<Real>>(won[1]);
      } else {
        unit[0] = static_cast<Unit<Real>>((won[1] & ~won[2]) | won[3]);
        unit[1] = static_cast<Unit<Real>>(won[2] | won[3]);
      }
    }
  }
  return top;
}

// Any slots, gathered.
template <typename Real, bool kRecord, typename Emission>
Vec<Real> step_gathered(const StepArguments<Real>& a) {
  using V = Vec<Real>;
  using Int = typename Simd<Real>::Int;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  const Emission emission(a.densities, a.states, a.density_count, a.index);
  const V shift = splat<V>(a.shift);
  const std::int64_t pitch = a.arcs->pitch();
  const int planes = a.arcs->planes();
  const int width = a.arcs->width();
  const Real* weight = a.arcs->weights();
  const std::int32_t* source = a.arcs->sources();
  V top = splat<V>(kNever<Real>);
  for (std::int64_t chunk = a.begin; chunk < a.end; chunk += kChunk<Real>) {
    [[maybe_unused]] IntVec<Real> chosen[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      const std::int64_t j = chunk + k * L;
      V best = (gather(a.previous, source + j) - shift) + load<V>(weight + j);
      IntVec<Real> choice{};
      for (int r = 1; r < width; ++r) {
        const V other = (gather(a.previous, source + r * pitch + j) - shift) + load<V>(weight + r * pitch + j);
        if constexpr (kRecord) choice = other > best ? splat<IntVec<Real>>(static_cast<Int>(r)) : choice;
        best = max(other, best);
      }
      if constexpr (kRecord) chosen[k] = choice;
      best = best + emission.at(j);
      store(a.score + j, best);
      top = max(best, top);
    }
    if constexpr (kRecord) {
      Unit<Real>* unit = a.back + chunk / kChunk<Real> * planes;
      for (int p = 0; p < planes; ++p) {
        std::uint32_t set = 0;
        for (int k = 0; k < kVectors; ++k)
          set |= nonzero_bits<Real>(chosen[k] & static_cast<Int>(Int{1} << p)) << (k * L);
        unit[p] = static_cast<Unit<Real>>(set);
      }
    }
  }
  return top;
}

template <typename Real>
using Step = Vec<Real> (*)(const StepArguments<Real>&);

template <typename Real, bool kRecord, typename Emission>
Step<Real> step_for(const ArcTable<Real>& arcs) {
  if (!arcs.banded()) return &step_gathered<Real, kRecord, Emission>;
  if constexpr (kHasWindow) {
    if (arcs.near()) {
      switch (arcs.width()) {
        case 1:
          return &step_band<Real, 1, true, kRecord, Emission>;
        case 2:
          return &step_band<Real, 2, true, kRecord, Emission>;
        case 3:
          return &step_band<Real, 3, true, kRecord, Emission>;
        default:
          return &step_band<Real, 4, true, kRecord, Emission>;
      }
    }
  }
  switch (arcs.width()) {
    case 1:
      return &step_band<Real, 1, false, kRecord, Emission>;
    case 2:
      return &step_band<Real, 2, false, kRecord, Emission>;
    case 3:
      return &step_band<Real, 3, false, kRecord, Emission>;
    default:
      return &step_band<Real, 4, false, kRecord, Emission>;
  }
}

template <typename Real, bool kRecord>
Step<Real> step_for(const ArcTable<Real>& arcs, const Model<Real>& m) {
  if (m.emission_index == nullptr) return step_for<Real, kRecord, OwnEmission<Real>>(arcs);
  if constexpr (kHasWindow) {
    if (m.densities <= FewEmissions<Real>::kMost) return step_for<Real, kRecord, FewEmissions<Real>>(arcs);
  }
  return step_for<Real, kRecord, SharedEmission<Real>>(arcs);
}

// ---- One sequence. ----

template <typename Real>
class SparseSequence {
 public:
  // Starts sequence b: its arcs, unless all share `shared`, and frame 0. `rows` frames of back-pointers are
  // kept, `marks` scores of whole frames.
  void open(const Model<Real>& m, std::int64_t b, const ArcTable<Real>* shared, std::int64_t rows,
            std::int64_t marks, std::int64_t* states) {
    model_ = &m;
    length_ = m.lengths[b];
    states_ = states + b * m.frames;
    for (std::int64_t t = 0; t < m.frames; ++t) states_[t] = -1;
    possible_ = length_ > 0;
    if (!possible_) return;
    log_initial_ = m.log_initial + b * m.initial_stride;
    log_final_ = m.log_final + b * m.final_stride;
    log_weight_ = m.log_weight + b * m.weight_stride;
    log_emission_ = m.log_emission + b * m.frames * m.densities;
    emission_index_ = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
    if (shared == nullptr) {
      const std::int64_t* predecessors = m.predecessors + b * m.predecessor_stride;
      if (own_of_ != predecessors) own_.open(m.states, m.slots, predecessors);
      own_of_ = predecessors;
      if (m.weight_step == 0) own_.set_weights(log_weight_);
      shared = &own_;
    }
    arcs_ = shared;
    const std::int64_t pitch = arcs_->pitch();
    margin_ = padded<Real>(arcs_->margin()) + kChunk<Real>;
    const std::int64_t size = pitch + 2 * margin_;
    Real* rooms = rooms_.reserve(2 * size);
    for (std::int64_t i = 0; i < 2 * size; ++i) rooms[i] = kNever<Real>;
    previous_ = rooms + margin_;
    score_ = rooms + size + margin_;
    if (emission_index_ != nullptr) {
      std::int32_t* index = index_.reserve(pitch);
      for (std::int64_t j = 0; j < pitch; ++j)
        index[j] = j < m.states ? static_cast<std::int32_t>(emission_index_[j]) : 0;
    }
    units_ = pitch / kChunk<Real> * arcs_->planes();
    back_.reserve(rows * units_);
    marks_.reserve(marks * pitch);
    mark_.reserve(marks);
    keep_ = step_for<Real, true>(*arcs_, m);
    skim_ = step_for<Real, false>(*arcs_, m);
    first_frame();
  }

  std::int64_t length() const { return length_; }
  bool possible() const { return possible_; }

  // Frame t after frame t - 1; `row` of the back-pointers is written, none if it is negative.
  HMM_INLINE void advance(std::int64_t t, std::int64_t row) {
    if (model_->weight_step != 0) own_.set_weights(log_weight_ + (t - 1) * model_->weight_step);
    arcs_->extend(first_, last_);
    Real* swap = previous_;
    previous_ = score_;
    score_ = swap;
    const Real* densities = log_emission_ + t * model_->densities;
    Unit<Real>* back = row < 0 ? nullptr : back_.data() + row * units_;
    const std::int64_t begin = first_ / kChunk<Real> * kChunk<Real>;
    const std::int64_t end = (last_ + kChunk<Real> - 1) / kChunk<Real> * kChunk<Real>;
    const StepArguments<Real> a{arcs_,     previous_,      score_,           shift_,        begin, end,
                                densities, model_->states, model_->densities, index_.data(), back};
    const Vec<Real> top = (row < 0 ? skim_ : keep_)(a);
    Real best = largest(top);
    if (arcs_->odd_count() > 0) best = odd_states(a, best);
    possible_ = best > kNever<Real>;
    shift_ = best;
  }

  // Keeps the scores of the present frame as mark `at`.
  void keep_mark(std::int64_t at) {
    mark_[at] = {shift_, first_, last_};
    Real* kept = marks_.data() + at * arcs_->pitch();
    for (std::int64_t j = first_; j < last_; ++j) kept[j] = score_[j];
  }

  // Goes back to mark `at`.
  void return_to_mark(std::int64_t at) {
    const Mark& mark = mark_[at];
    const Real* kept = marks_.data() + at * arcs_->pitch();
    for (std::int64_t j = 0; j < arcs_->pitch(); ++j) previous_[j] = score_[j] = kNever<Real>;
    for (std::int64_t j = mark.first; j < mark.last; ++j) score_[j] = kept[j];
    shift_ = mark.shift;
    first_ = mark.first;
    last_ = mark.last;
  }

  // The best last state; false where no path may end.
  bool finish() {
    if (!possible_) return false;
    Real best = kNever<Real>;
    for (std::int64_t j = first_; j < last_; ++j) {
      const Real total = (score_[j] - shift_) + log_final_[j];
      if (total > best) {
        best = total;
        state_ = j;
      }
    }
    possible_ = best > kNever<Real>;
    if (possible_) states_[length_ - 1] = state_;
    return possible_;
  }

  // Steps from frame t back to frame t - 1.
  HMM_INLINE void retreat(std::int64_t t, std::int64_t row) {
    const int planes = arcs_->planes();
    const Unit<Real>* unit = back_.data() + row * units_ + state_ / kChunk<Real> * planes;
    const int bit = static_cast<int>(state_ % kChunk<Real>);
    std::int64_t choice = 0;
    for (int p = 0; p < planes; ++p) choice |= static_cast<std::int64_t>((unit[p] >> bit) & 1) << p;
    state_ = arcs_->origin(state_, choice);
    states_[t - 1] = state_;
  }

 private:
  struct Mark {
    Real shift;
    std::int64_t first, last;
  };

  void first_frame() {
    const std::int64_t K = model_->states;
    first_ = 0;
    last_ = K;
    while (first_ < K && !(log_initial_[first_] > kNever<Real>)) ++first_;
    while (last_ > first_ && !(log_initial_[last_ - 1] > kNever<Real>)) --last_;
    shift_ = kNever<Real>;
    for (std::int64_t j = first_; j < last_; ++j) {
      score_[j] = log_initial_[j] + log_emission_[emission_index_ == nullptr ? j : emission_index_[j]];
      if (score_[j] > shift_) shift_ = score_[j];
    }
    possible_ = shift_ > kNever<Real>;
  }

  Real odd_states(const StepArguments<Real>& a, Real best) {
    const std::int64_t R = arcs_->slots();
    const int planes = arcs_->planes();
    for (std::int64_t i = 0; i < arcs_->odd_count(); ++i) {
      const std::int64_t j = arcs_->odd(i);
      if (j < first_ || j >= last_) continue;
      const std::int64_t* source = arcs_->predecessors() + j * R;
      const Real* weight = arcs_->current() + j * R;
      Real most = (a.previous[source[0]] - a.shift) + weight[0];
      std::int64_t choice = 0;
      for (std::int64_t r = 1; r < R && source[r] >= 0; ++r) {
        const Real other = (a.previous[source[r]] - a.shift) + weight[r];
        choice = other > most ? r : choice;
        most = other > most ? other : most;
      }
      most = most + a.densities[emission_index_ == nullptr ? j : emission_index_[j]];
      a.score[j] = most;
      best = most > best ? most : best;
      if (a.back == nullptr) continue;
      Unit<Real>* unit = a.back + j / kChunk<Real> * planes;
      const auto bit = static_cast<unsigned>(1U << (j % kChunk<Real>));
      for (int p = 0; p < planes; ++p) {
        const unsigned others = unit[p] & ~bit;
        unit[p] = static_cast<Unit<Real>>(others | (((choice >> p) & 1) != 0 ? bit : 0U));
      }
    }
    return best;
  }

  const Model<Real>* model_ = nullptr;
  const ArcTable<Real>* arcs_ = nullptr;
  ArcTable<Real> own_;
  const std::int64_t* own_of_ = nullptr;  // the predecessors that own_ describes
  const Real* log_initial_ = nullptr;
  const Real* log_final_ = nullptr;
  const Real* log_weight_ = nullptr;
  const Real* log_emission_ = nullptr;
  const std::int64_t* emission_index_ = nullptr;
  std::int64_t* states_ = nullptr;
  std::int64_t length_ = 0;
  bool possible_ = false;
  Step<Real> keep_ = nullptr;
  Step<Real> skim_ = nullptr;
  std::int64_t margin_ = 0;
  std::int64_t units_ = 0;  // of back-pointers in a frame
  Real* previous_ = nullptr;
  Real* score_ = nullptr;  // of the present frame, before its best is subtracted
  Real shift_ = 0;         // that best
  std::int64_t first_ = 0, last_ = 0;  // the states that a path can have reached: first..last-1
  std::int64_t state_ = 0;
  Buffer<Real> rooms_, marks_;
  Buffer<Mark> mark_;
  Buffer<std::int32_t> index_;
  Buffer<Unit<Real>> back_;
};

// Several sequences frame by frame in turn: the next one's arithmetic fills the time in which one waits for
// its frame's best.
constexpr std::int64_t kSparseGroup = 4;

template <typename Real>
struct SparseGroup {
  SparseSequence<Real> sequence[kSparseGroup];

  // Decodes sequences begin..end-1. Back-pointers of `segment` frames are kept at a time.
  void decode(const Model<Real>& m, const ArcTable<Real>* shared, std::int64_t begin, std::int64_t end,
              std::int64_t segment, std::int64_t* states) {
    const std::int64_t n = end - begin;
    std::int64_t longest = 0;
    for (std::int64_t b = begin; b < end; ++b) longest = m.lengths[b] > longest ? m.lengths[b] : longest;
    const std::int64_t steps = longest > 0 ? longest - 1 : 0;
    const std::int64_t segments = steps == 0 ? 1 : (steps + segment - 1) / segment;
    const std::int64_t rows = steps < segment ? steps : segment;
    for (std::int64_t i = 0; i < n; ++i)
      sequence[i].open(m, begin + i, shared, rows, segments > 1 ? segments : 0, states);
    // Frame t is reached by step t; segment s has the steps s * segment + 1 up to (s + 1) * segment.
    const auto sweep = [&](std::int64_t s, bool record) {
      const std::int64_t start = s * segment;
      const std::int64_t stop = start + segment < steps ? start + segment : steps;
      for (std::int64_t t = start + 1; t <= stop; ++t) {
        for (std::int64_t i = 0; i < n; ++i) {
          if (t < sequence[i].length() && sequence[i].possible())
            sequence[i].advance(t, record ? t - start - 1 : -1);
        }
      }
    };
    for (std::int64_t s = 0; s < segments; ++s) {
      if (segments > 1) {
        for (std::int64_t i = 0; i < n; ++i) {
          if (s * segment < sequence[i].length() && sequence[i].possible()) sequence[i].keep_mark(s);
        }
      }
      sweep(s, s == segments - 1);
    }
    bool found[kSparseGroup];
    for (std::int64_t i = 0; i < n; ++i) found[i] = sequence[i].finish();
    for (std::int64_t s = segments - 1; s >= 0; --s) {
      const std::int64_t start = s * segment;
      const std::int64_t stop = start + segment < steps ? start + segment : steps;
      if (s < segments - 1) {
        for (std::int64_t i = 0; i < n; ++i) {
          if (found[i] && start < sequence[i].length()) sequence[i].return_to_mark(s);
        }
        sweep(s, true);
      }
      for (std::int64_t t = stop; t > start; --t) {
        for (std::int64_t i = 0; i < n; ++i) {
          if (found[i] && t < sequence[i].length()) sequence[i].retreat(t, t - start - 1);
        }
      }
    }
  }
};

}  // namespace detail

HMM_END_TARGET
