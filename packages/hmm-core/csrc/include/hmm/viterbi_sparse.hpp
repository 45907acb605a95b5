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

template <bool x>
struct Constant {
  static constexpr bool value = x;
};

// ---- Scores of one frame, a vector of states at a time. ----

// State k reads density k.
template <typename Real>
struct OwnEmission {
  const Real* frame;
  std::int64_t states;
  HMM_INLINE void open(const Real* densities, std::int64_t K, std::int64_t, const std::int32_t*) {
    frame = densities;
    states = K;
  }
  // `whole`: states j, j + 1, ... all exist.
  template <bool whole>
  HMM_INLINE Vec<Real> at(std::int64_t j) const {
    __builtin_prefetch(frame + j + 2048);
    if constexpr (whole) return load<Vec<Real>>(frame + j);
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
  HMM_INLINE void open(const Real* densities, std::int64_t, std::int64_t, const std::int32_t* where) {
    frame = densities;
    index = where;
  }
  template <bool>
  HMM_INLINE Vec<Real> at(std::int64_t j) const {
    return gather(frame, index + j);
  }
};

// Through an index into so few densities that they stay in four registers.
template <typename Real>
struct FewEmissions {
  static constexpr std::int64_t kMost = kHasWindow ? 4 * kLanes<Real> : 0;
  const std::int32_t* index;
  Vec<Real> part[4];
  HMM_INLINE void open(const Real* densities, std::int64_t, std::int64_t P, const std::int32_t* where) {
    index = where;
    constexpr std::int64_t L = kLanes<Real>;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t left = P - i * L;
      part[i] = left >= L ? load<Vec<Real>>(densities + i * L)
                          : load_part(densities + (left > 0 ? i * L : 0), left > 0 ? left : 0, Real{0});
    }
  }
  template <bool>
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

// Sequences that step together: the arithmetic of one fills the time in which another waits for the best
// score of its frame.
constexpr int kSparseGroup = 4;

// What `frames` steps of S sequences read and write. Sequences that step together have the same distances.
template <typename Real>
struct StepArguments {
  const ArcTable<Real>* arcs[kSparseGroup];
  Real* previous[kSparseGroup];
  Real* score[kSparseGroup];  // of the first of the frames; previous and score take turns
  Real shift[kSparseGroup];   // the best score of the frame before, and in the end of the last one
  Real worst[kSparseGroup];   // out: the least of the best scores
  const Real* densities[kSparseGroup];
  const std::int32_t* index[kSparseGroup];
  Unit<Real>* back[kSparseGroup];  // the row of back-pointers
  std::int64_t units;              // of back-pointers in a row
  std::int64_t frames;
  std::int64_t begin, end;  // states, whole chunks
  std::int64_t states;
  std::int64_t density_count;
};

// Takes the best score of a frame of sequence s. Scores are relative to it; -inf stays as it is.
template <typename Real>
HMM_INLINE void take_best(StepArguments<Real>& a, int s, Real best) {
  a.worst[s] = best < a.worst[s] ? best : a.worst[s];
  a.shift[s] = best > kNever<Real> ? best : Real{0};
}

// Bands of R distances; `kNear`: the last one is 0, and the others lie less than a vector below.
template <typename Real, int S, int R, bool kNear, bool kRecord, typename Emission>
void step_band(StepArguments<Real>& a) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  const Adder<Real> add;
  struct Lane {
    Real* previous;
    Real* score;
    const Real* weight;
    Unit<Real>* unit;
    V shift, before, top;
  };
  const ArcTable<Real>& arcs = *a.arcs[0];
  const int planes = arcs.planes();
  const std::int64_t pitch = arcs.pitch();
  std::int64_t offset[R];
  IntVec<Real> where[R];
  for (int r = 0; r < R; ++r) {
    offset[r] = arcs.offsets()[r];
    for (int l = 0; l < L; ++l) where[r][l] = static_cast<typename Simd<Real>::Int>(l + L + offset[r]);
  }
  Lane lane[S];
  Emission emission[S];
  for (int s = 0; s < S; ++s) {
    lane[s].previous = a.previous[s];
    lane[s].score = a.score[s];
    lane[s].weight = a.arcs[s]->weights();
    lane[s].unit = a.back[s];
  }
  const auto chunk_of = [&](auto whole, std::int64_t chunk) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      Lane& x = lane[s];
      [[maybe_unused]] std::uint32_t won[4] = {};
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        const std::int64_t j = chunk + k * L;
        V here{};
        if constexpr (kNear) here = add(load<V>(x.previous + j), x.shift);
        const auto from = [&](int r) __attribute__((always_inline)) {
          if constexpr (kNear) {
            return r == R - 1 ? here : window<Real>(x.before, where[r], here);
          } else {
            return add(load<V>(x.previous + j + offset[r]), x.shift);
          }
        };
        V best = add(from(0), load<V>(x.weight + j));
#pragma GCC unroll 4
        for (int r = 1; r < R; ++r) {
          const V other = add(from(r), load<V>(x.weight + r * pitch + j));
          if constexpr (kRecord) won[r] |= greater_bits(other, best) << (k * L);
          best = max(other, best);
        }
        best = add(best, emission[s].template at<decltype(whole)::value>(j));
        store(x.score + j, best);
        x.top = max(best, x.top);
        if constexpr (kNear) x.before = here;
      }
      if constexpr (kRecord && R > 1) {
        Unit<Real>* unit = x.unit + chunk / kChunk<Real> * planes;
        if constexpr (R == 2) {
          unit[0] = static_cast<Unit<Real>>(won[1]);
        } else {
          unit[0] = static_cast<Unit<Real>>((won[1] & ~won[2]) | won[3]);
          unit[1] = static_cast<Unit<Real>>(won[2] | won[3]);
        }
      }
    }
  };
  const std::int64_t begin = a.begin;
  const std::int64_t end = a.end;
  const std::int64_t inside = a.states / kChunk<Real> * kChunk<Real>;
  const std::int64_t whole = end < inside ? end : inside;
  const std::int64_t frames = a.frames;
  for (std::int64_t f = 0; f < frames; ++f) {
    for (int s = 0; s < S; ++s) {
      Lane& x = lane[s];
      x.shift = splat<V>(-a.shift[s]);
      x.top = splat<V>(kNever<Real>);
      if constexpr (kNear) x.before = add(load<V>(x.previous + begin - L), x.shift);
      emission[s].open(a.densities[s] + f * a.density_count, a.states, a.density_count, a.index[s]);
    }
    std::int64_t chunk = begin;
    for (; chunk < whole; chunk += kChunk<Real>) chunk_of(Constant<true>{}, chunk);
    if (chunk < end) chunk_of(Constant<false>{}, chunk);
    for (int s = 0; s < S; ++s) {
      Lane& x = lane[s];
      take_best(a, s, largest_lane<Real>(x.top));
      Real* const swap = x.previous;
      x.previous = x.score;
      x.score = swap;
      if constexpr (kRecord) x.unit += a.units;
    }
  }
}

// Any slots, gathered.
template <typename Real, int S, bool kRecord, typename Emission>
void step_gathered(StepArguments<Real>& a) {
  static_assert(S == 1, "gathers wait for memory anyway");
  using V = Vec<Real>;
  using Int = typename Simd<Real>::Int;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  Emission emission;
  emission.open(a.densities[0], a.states, a.density_count, a.index[0]);
  const ArcTable<Real>& arcs = *a.arcs[0];
  const V shift = splat<V>(a.shift[0]);
  const std::int64_t pitch = arcs.pitch();
  const int planes = arcs.planes();
  const int width = arcs.width();
  const Real* weight = arcs.weights();
  const Real* previous = a.previous[0];
  const std::int32_t* source = arcs.sources();
  V top = splat<V>(kNever<Real>);
  for (std::int64_t chunk = a.begin; chunk < a.end; chunk += kChunk<Real>) {
    [[maybe_unused]] IntVec<Real> chosen[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      const std::int64_t j = chunk + k * L;
      V best = (gather(previous, source + j) - shift) + load<V>(weight + j);
      IntVec<Real> choice{};
      for (int r = 1; r < width; ++r) {
        const std::int64_t at = r * pitch + j;
        const V other = (gather(previous, source + at) - shift) + load<V>(weight + at);
        if constexpr (kRecord) choice = other > best ? splat<IntVec<Real>>(static_cast<Int>(r)) : choice;
        best = max(other, best);
      }
      if constexpr (kRecord) chosen[k] = choice;
      best = best + emission.template at<false>(j);
      store(a.score[0] + j, best);
      top = max(best, top);
    }
    if constexpr (kRecord) {
      Unit<Real>* unit = a.back[0] + chunk / kChunk<Real> * planes;
      for (int p = 0; p < planes; ++p) {
        std::uint32_t set = 0;
        for (int k = 0; k < kVectors; ++k)
          set |= nonzero_bits<Real>(chosen[k] & static_cast<Int>(Int{1} << p)) << (k * L);
        unit[p] = static_cast<Unit<Real>>(set);
      }
    }
  }
  take_best(a, 0, largest_lane<Real>(top));
}

template <typename Real>
using Step = void (*)(StepArguments<Real>&);

template <typename Real, int S, bool kNear, bool kRecord, typename Emission>
Step<Real> step_of_width(int width) {
  switch (width) {
    case 1:
      return &step_band<Real, S, 1, kNear, kRecord, Emission>;
    case 2:
      return &step_band<Real, S, 2, kNear, kRecord, Emission>;
    case 3:
      return &step_band<Real, S, 3, kNear, kRecord, Emission>;
    default:
      return &step_band<Real, S, 4, kNear, kRecord, Emission>;
  }
}

template <typename Real, int S, bool kRecord, typename Emission>
Step<Real> step_for(const ArcTable<Real>& arcs) {
  if constexpr (S == 1) {
    if (!arcs.banded()) return &step_gathered<Real, 1, kRecord, Emission>;
  }
  if constexpr (kHasWindow) {
    if (arcs.near()) return step_of_width<Real, S, true, kRecord, Emission>(arcs.width());
  }
  return step_of_width<Real, S, false, kRecord, Emission>(arcs.width());
}

template <typename Real, int S, bool kRecord>
Step<Real> step_for(const ArcTable<Real>& arcs, const Model<Real>& m) {
  if (m.emission_index == nullptr) return step_for<Real, S, kRecord, OwnEmission<Real>>(arcs);
  if constexpr (kHasWindow) {
    if (m.densities <= FewEmissions<Real>::kMost) return step_for<Real, S, kRecord, FewEmissions<Real>>(arcs);
  }
  return step_for<Real, S, kRecord, SharedEmission<Real>>(arcs);
}

// ---- A few sequences. ----

template <typename Real>
class SparseGroup {
 public:
  // Decodes the `count` sequences in `order`, the longest first. Their arcs are `shared`, or null if each has
  // its own. Back-pointers of `segment` frames are kept at a time; where that is not all of them, the scores
  // at the beginning of each segment are kept, and a segment is computed again before the path goes through.
  void decode(const Model<Real>& m, const ArcTable<Real>* shared, const std::int64_t* order, int count,
              std::int64_t segment, std::int64_t* states) {
    model_ = &m;
    const std::int64_t T = m.frames;
    for (int s = 0; s < count; ++s) {
      for (std::int64_t t = 0; t < T; ++t) states[order[s] * T + t] = -1;
    }
    while (count > 0 && m.lengths[order[count - 1]] == 0) --count;
    if (count == 0) return;
    count_ = count;
    const std::int64_t steps = m.lengths[order[0]] - 1;
    const std::int64_t segments = steps == 0 ? 1 : (steps + segment - 1) / segment;
    open(shared, order, steps < segment ? steps : segment, segments > 1 ? segments : 0, states);
    for (std::int64_t g = 0; g < segments; ++g) {
      if (segments > 1) keep_mark(g);
      sweep(g * segment, g * segment + segment < steps ? g * segment + segment : steps, g == segments - 1);
    }
    for (std::int64_t g = segments - 1; g >= 0; --g) {
      const std::int64_t start = g * segment;
      const std::int64_t stop = start + segment < steps ? start + segment : steps;
      if (g < segments - 1) {
        return_to_mark(g);
        sweep(start, stop, true);
      }
      for (std::int64_t t = stop; t > start; --t) {
        for (int s = 0; s < count_; ++s) {
          if (sequence_[s].found && t < sequence_[s].length) retreat(sequence_[s], t, t - start - 1);
        }
      }
    }
  }

 private:
  struct Sequence {
    const ArcTable<Real>* arcs;
    const Real* log_initial;
    const Real* log_final;
    const Real* log_weight;
    const Real* log_emission;
    const std::int64_t* emission_index;
    const std::int32_t* index;
    std::int64_t* states;
    std::int64_t length;
    std::int64_t state;  // of the path, where it has come to
    Real* rooms[2];
    Unit<Real>* back;
    Real shift;  // the best score of the present frame
    bool possible, finished, found;
  };

  void open(const ArcTable<Real>* shared, const std::int64_t* order, std::int64_t rows, std::int64_t marks,
            std::int64_t* states) {
    const Model<Real>& m = *model_;
    const std::int64_t K = m.states;
    together_ = count_ == kSparseGroup;
    margin_ = 0;
    units_ = 0;
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      const std::int64_t b = order[s];
      x.length = m.lengths[b];
      x.states = states + b * m.frames;
      x.log_initial = m.log_initial + b * m.initial_stride;
      x.log_final = m.log_final + b * m.final_stride;
      x.log_weight = m.log_weight + b * m.weight_stride;
      x.log_emission = m.log_emission + b * m.frames * m.densities;
      x.emission_index = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
      x.arcs = shared;
      if (shared == nullptr) {
        const std::int64_t* predecessors = m.predecessors + b * m.predecessor_stride;
        if (own_of_[s] != predecessors) own_[s].open(K, m.slots, predecessors);
        own_of_[s] = predecessors;
        if (m.weight_step == 0) own_[s].set_weights(x.log_weight);
        x.arcs = &own_[s];
      }
      together_ = together_ && x.arcs->banded() && x.arcs->same_distances(*sequence_[0].arcs);
      const std::int64_t margin = padded<Real>(x.arcs->margin()) + kChunk<Real>;
      margin_ = margin > margin_ ? margin : margin_;
      pitch_ = x.arcs->pitch();
      const std::int64_t units = pitch_ / kChunk<Real> * x.arcs->planes();
      units_ = units > units_ ? units : units_;
    }
    const std::int64_t size = pitch_ + 2 * margin_;
    rooms_.reserve(2 * size * count_);
    for (std::int64_t i = 0; i < 2 * size * count_; ++i) rooms_[i] = kNever<Real>;
    // Rows of one sequence lie behind each other: the path reads them one by one.
    back_.reserve(rows * units_ * count_);
    marks_.reserve(marks * count_ * pitch_);
    mark_.reserve(marks * count_);
    if (m.emission_index != nullptr) index_.reserve(pitch_ * count_);
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      x.rooms[0] = rooms_.data() + 2 * s * size + margin_;
      x.rooms[1] = x.rooms[0] + size;
      x.back = back_.data() + s * rows * units_;
      x.index = nullptr;
      if (x.emission_index != nullptr) {
        std::int32_t* index = index_.data() + s * pitch_;
        for (std::int64_t j = 0; j < pitch_; ++j)
          index[j] = j < K ? static_cast<std::int32_t>(x.emission_index[j]) : 0;
        x.index = index;
      }
      alone_[0][s] = step_for<Real, 1, false>(*x.arcs, m);
      alone_[1][s] = step_for<Real, 1, true>(*x.arcs, m);
    }
    if (together_) {
      all_[0] = step_for<Real, kSparseGroup, false>(*sequence_[0].arcs, m);
      all_[1] = step_for<Real, kSparseGroup, true>(*sequence_[0].arcs, m);
    }
    present_ = 0;
    begin_ = K;
    end_ = 0;
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      x.shift = kNever<Real>;
      Real* score = x.rooms[0];
      for (std::int64_t j = 0; j < K; ++j) {
        if (!(x.log_initial[j] > kNever<Real>)) continue;
        begin_ = j < begin_ ? j : begin_;
        end_ = j + 1 > end_ ? j + 1 : end_;
        score[j] = x.log_initial[j] + x.log_emission[x.emission_index == nullptr ? j : x.emission_index[j]];
        if (score[j] > x.shift) x.shift = score[j];
      }
      x.possible = x.shift > kNever<Real>;
      if (!x.possible) x.shift = 0;
      x.finished = x.found = false;
      if (x.length == 1) finish(x);
    }
    if (end_ == 0) {
      begin_ = 0;
      end_ = 1;
    }
  }

  // Frames start+1..stop, after frame `start`.
  void sweep(std::int64_t start, std::int64_t stop, bool record) {
    const Model<Real>& m = *model_;
    bool plain = m.weight_step == 0;
    for (int s = 0; s < count_; ++s) {
      plain = plain && sequence_[s].arcs->odd_count() == 0 && sequence_[s].arcs->banded();
    }
    int running = count_;
    for (std::int64_t t = start + 1; t <= stop;) {
      while (running > 0 && t >= sequence_[running - 1].length) --running;
      if (m.weight_step != 0) {
        for (int s = 0; s < running; ++s)
          own_[s].set_weights(sequence_[s].log_weight + (t - 1) * m.weight_step);
      }
      // Where nothing but the frame changes, many steps are one call.
      std::int64_t frames = 1;
      if (begin_ > 0 || end_ < m.states) {
        const std::int64_t begin = begin_;
        const std::int64_t end = end_;
        for (int s = 0; s < running; ++s) sequence_[s].arcs->extend(begin, end, begin_, end_);
      } else if (plain) {
        const std::int64_t last = sequence_[running - 1].length - 1;
        frames = (last < stop ? last : stop) - t + 1;
      }
      if (together_ && running == kSparseGroup) {
        step(0, kSparseGroup, all_[record ? 1 : 0], t, frames, start, record);
      } else {
        for (int s = 0; s < running; ++s) step(s, 1, alone_[record ? 1 : 0][s], t, frames, start, record);
      }
      if (frames % 2 != 0) present_ = 1 - present_;
      t += frames;
      for (int s = 0; s < running; ++s) {
        if (t == sequence_[s].length && !sequence_[s].finished) finish(sequence_[s]);
      }
    }
  }

  // Some frames from frame t on of `count` sequences.
  void step(int first, int count, Step<Real> run, std::int64_t t, std::int64_t frames, std::int64_t start,
            bool record) {
    const Model<Real>& m = *model_;
    StepArguments<Real> a;
    for (int s = 0; s < count; ++s) {
      const Sequence& x = sequence_[first + s];
      a.arcs[s] = x.arcs;
      a.previous[s] = x.rooms[present_];
      a.score[s] = x.rooms[1 - present_];
      a.shift[s] = x.shift;
      a.worst[s] = std::numeric_limits<Real>::infinity();
      a.densities[s] = x.log_emission + t * m.densities;
      a.index[s] = x.index;
      a.back[s] = x.back + (t - start - 1) * units_;
    }
    a.units = units_;
    a.frames = frames;
    a.begin = begin_ / kChunk<Real> * kChunk<Real>;
    a.end = (end_ + kChunk<Real> - 1) / kChunk<Real> * kChunk<Real>;
    a.states = m.states;
    a.density_count = m.densities;
    Real shift[kSparseGroup];
    for (int s = 0; s < count; ++s) shift[s] = a.shift[s];
    run(a);
    for (int s = 0; s < count; ++s) {
      Sequence& x = sequence_[first + s];
      if (x.arcs->odd_count() > 0) odd_states(x, a, s, shift[s], record);
      x.possible = x.possible && a.worst[s] > kNever<Real>;
      x.shift = a.shift[s];
    }
  }

  void keep_mark(std::int64_t at) {
    for (int s = 0; s < count_; ++s) {
      const Sequence& x = sequence_[s];
      mark_[at * count_ + s] = {x.shift, begin_, end_};
      Real* kept = marks_.data() + (at * count_ + s) * pitch_;
      for (std::int64_t j = begin_; j < end_; ++j) kept[j] = x.rooms[present_][j];
    }
  }

  void return_to_mark(std::int64_t at) {
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      const Mark& mark = mark_[at * count_ + s];
      const Real* kept = marks_.data() + (at * count_ + s) * pitch_;
      for (std::int64_t j = 0; j < pitch_; ++j) x.rooms[0][j] = x.rooms[1][j] = kNever<Real>;
      for (std::int64_t j = mark.begin; j < mark.end; ++j) x.rooms[present_][j] = kept[j];
      x.shift = mark.shift;
      begin_ = mark.begin;
      end_ = mark.end;
    }
  }

  // Chooses the last state.
  void finish(Sequence& x) {
    x.finished = true;
    const Real* score = x.rooms[present_];
    Real best = kNever<Real>;
    for (std::int64_t j = 0; j < model_->states; ++j) {
      const Real total = (score[j] - x.shift) + x.log_final[j];
      if (total > best) {
        best = total;
        x.state = j;
      }
    }
    x.found = x.possible && best > kNever<Real>;
    if (x.found) x.states[x.length - 1] = x.state;
  }

  // Steps from frame t back to frame t - 1.
  HMM_INLINE void retreat(Sequence& x, std::int64_t t, std::int64_t row) const {
    const int planes = x.arcs->planes();
    const Unit<Real>* unit = x.back + row * units_ + x.state / kChunk<Real> * planes;
    const int bit = static_cast<int>(x.state % kChunk<Real>);
    std::int64_t choice = 0;
    for (int p = 0; p < planes; ++p) choice |= static_cast<std::int64_t>((unit[p] >> bit) & 1) << p;
    x.state = x.arcs->origin(x.state, choice);
    x.states[t - 1] = x.state;
  }

  // States with arcs outside the band, one by one.
  void odd_states(const Sequence& x, StepArguments<Real>& a, int at, Real shift, bool record) const {
    const std::int64_t R = x.arcs->slots();
    const int planes = x.arcs->planes();
    const Real* previous = a.previous[at];
    Real best = a.worst[at];  // of the one frame
    for (std::int64_t i = 0; i < x.arcs->odd_count(); ++i) {
      const std::int64_t j = x.arcs->odd(i);
      if (j < begin_ || j >= end_) continue;
      const std::int64_t* source = x.arcs->predecessors() + j * R;
      const Real* weight = x.arcs->current() + j * R;
      Real most = (previous[source[0]] - shift) + weight[0];
      std::int64_t choice = 0;
      for (std::int64_t r = 1; r < R && source[r] >= 0; ++r) {
        const Real other = (previous[source[r]] - shift) + weight[r];
        choice = other > most ? r : choice;
        most = other > most ? other : most;
      }
      most = most + a.densities[at][x.emission_index == nullptr ? j : x.emission_index[j]];
      a.score[at][j] = most;
      best = most > best ? most : best;
      if (!record) continue;
      Unit<Real>* unit = a.back[at] + j / kChunk<Real> * planes;
      const auto bit = static_cast<unsigned>(1U << (j % kChunk<Real>));
      for (int p = 0; p < planes; ++p) {
        const unsigned others = unit[p] & ~bit;
        unit[p] = static_cast<Unit<Real>>(others | (((choice >> p) & 1) != 0 ? bit : 0U));
      }
    }
    a.worst[at] = std::numeric_limits<Real>::infinity();
    take_best(a, at, best);
  }

  struct Mark {
    Real shift;
    std::int64_t begin, end;
  };

  const Model<Real>* model_ = nullptr;
  int count_ = 0;
  Sequence sequence_[kSparseGroup] = {};
  ArcTable<Real> own_[kSparseGroup];
  const std::int64_t* own_of_[kSparseGroup] = {};  // the predecessors that own_ describes
  Step<Real> alone_[2][kSparseGroup] = {};         // without and with back-pointers
  Step<Real> all_[2] = {};
  bool together_ = false;             // whether all_ may be used
  int present_ = 0;                   // which of the rooms holds the present frame
  std::int64_t begin_ = 0, end_ = 0;  // the states that a path can have reached
  std::int64_t margin_ = 0;
  std::int64_t pitch_ = 0;
  std::int64_t units_ = 0;  // of back-pointers in a frame
  Buffer<Real> rooms_, marks_;
  Buffer<Mark> mark_;
  Buffer<std::int32_t> index_;
  Buffer<Unit<Real>> back_;
};

}  // namespace detail

HMM_END_TARGET
