// One frame of the Viterbi recursion with sparse transitions, for a few sequences.
#pragma once

#include <cstdint>
#include <limits>

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
  Strays<Real> strays;  // among all that was read
  HMM_INLINE void open(const Real* densities, std::int64_t K, std::int64_t, const std::int32_t*) {
    frame = densities;
    states = K;
  }
  // `whole`: states j, j + 1, ... all exist.
  template <bool whole>
  HMM_INLINE Vec<Real> at(std::int64_t j) {
    const std::int64_t left = states - j;
    const Vec<Real> score = whole || left >= kLanes<Real>
                                ? load<Vec<Real>>(frame + j)
                                : load_part(frame + j, left > 0 ? left : 0, Real{0});
    strays.see(score);
    return score;
  }
  // Where tables of weights fill the nearest cache, what is read next must be asked for.
  HMM_INLINE void fetch(std::int64_t j) const { __builtin_prefetch(frame + j + 1024); }
  HMM_INLINE bool any_stray() const { return strays.any(); }
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
    return gather<Vec<Real>>(frame, index + j);
  }
  HMM_INLINE void fetch(std::int64_t) const {}
  HMM_INLINE bool any_stray() const { return false; }
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
  HMM_INLINE void fetch(std::int64_t) const {}
  HMM_INLINE bool any_stray() const { return false; }
};

// ---- One step. ----

// Sequences that step in turns: the arithmetic of one fills the time in which another waits for the best
// score of its frame.
constexpr int kSparseGroup = 4;

// What `frames` steps of `count` sequences read and write. Their arcs have the same layout.
template <typename Real>
struct StepArguments {
  int count;
  const ArcTable<Real>* arcs[kSparseGroup];
  Real* previous[kSparseGroup];
  Real* score[kSparseGroup];  // of the first of the frames; previous and score take turns
  Real shift[kSparseGroup];   // the best score of the frame before, and in the end of the last one
  Real worst[kSparseGroup];   // out: the least of the best scores
  const Real* densities[kSparseGroup];
  const std::int32_t* index[kSparseGroup];  // by place
  Unit<Real>* back[kSparseGroup];           // the row of back-pointers
  std::int64_t units;                       // of back-pointers in a row
  std::int64_t frames;
  std::int64_t begin, end;  // places, whole chunks; of pairs those of the even states
  std::int64_t states;
  std::int64_t density_count;
  bool stray;  // out: NaN or +inf was among the emissions, where each state reads its own
};

// Takes the best score of a frame of sequence s. Scores are relative to it; -inf stays as it is.
template <typename Real>
HMM_INLINE void take_best(StepArguments<Real>& a, int s, Real best) {
  a.worst[s] = best < a.worst[s] ? best : a.worst[s];
  a.shift[s] = best > kNever<Real> ? best : Real{0};
}

// Calls step(s, f) for all frames and sequences, and moves to the next frame in between.
template <typename Real, typename Work>
HMM_INLINE void each_frame(StepArguments<Real>& a, Work&& step) {
  for (std::int64_t f = 0; f < a.frames; ++f) {
    for (int s = 0; s < a.count; ++s) {
      step(s);
      Real* const swap = a.previous[s];
      a.previous[s] = a.score[s];
      a.score[s] = swap;
      a.back[s] += a.units;
      a.densities[s] += a.density_count;
    }
  }
}

// Bands of R distances; `kNear`: the last one is 0, and the others lie less than a vector below.
template <typename Real, int R, bool kNear, bool kRecord, typename Emission>
void step_band(StepArguments<Real>& a) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  const Adder<Real> add;
  const int planes = a.arcs[0]->planes();
  const std::int64_t pitch = a.arcs[0]->pitch();
  std::int64_t offset[R];
  IntVec<Real> where[R];
  for (int r = 0; r < R; ++r) {
    offset[r] = a.arcs[0]->offsets()[r];
    for (int l = 0; l < L; ++l) where[r][l] = static_cast<typename Simd<Real>::Int>(l + L + offset[r]);
  }
  const std::int64_t begin = a.begin;
  const std::int64_t end = a.end;
  const std::int64_t inside = a.states / kChunk<Real> * kChunk<Real>;
  const std::int64_t whole = end < inside ? end : inside;
  Emission emission{};
  each_frame(a, [&](int s) __attribute__((always_inline)) {
    const Real* const previous = a.previous[s];
    Real* const score = a.score[s];
    const Real* const weight = a.arcs[s]->weights();
    const std::int64_t free = a.arcs[s]->free() < whole ? a.arcs[s]->free() : whole;
    const V shift = splat<V>(-a.shift[s]);
    V top = splat<V>(kNever<Real>);
    [[maybe_unused]] V before{};
    if constexpr (kNear) before = add(load<V>(previous + begin - L), shift);
    emission.open(a.densities[s], a.states, a.density_count, a.index[s]);
    [[maybe_unused]] Unit<Real>* unit = a.back[s] + begin / kChunk<Real> * planes;
    const auto chunk_of = [&](auto all, auto weighted, std::int64_t chunk) __attribute__((always_inline)) {
      [[maybe_unused]] std::uint32_t won[4] = {};
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        const std::int64_t j = chunk + k * L;
        if constexpr (decltype(weighted)::value) emission.fetch(j);
        V here{};
        if constexpr (kNear) here = add(load<V>(previous + j), shift);
        const auto arriving = [&](int r) __attribute__((always_inline)) {
          V x;
          if constexpr (kNear) {
            x = r == R - 1 ? here : window<Real>(before, where[r], here);
          } else {
            x = add(load<V>(previous + j + offset[r]), shift);
          }
          if constexpr (decltype(weighted)::value) x = add(x, load<V>(weight + r * pitch + j));
          return x;
        };
        V best = arriving(0);
#pragma GCC unroll 4
        for (int r = 1; r < R; ++r) {
          const V other = arriving(r);
          if constexpr (kRecord) won[r] |= greater_bits(other, best) << (k * L);
          best = max(other, best);
        }
        best = add(best, emission.template at<decltype(all)::value>(j));
        store(score + j, best);
        top = max(best, top);
        if constexpr (kNear) before = here;
      }
      if constexpr (kRecord && R > 1) {
        if constexpr (R == 2) {
          unit[0] = static_cast<Unit<Real>>(won[1]);
        } else {
          unit[0] = static_cast<Unit<Real>>((won[1] & ~won[2]) | won[3]);
          unit[1] = static_cast<Unit<Real>>(won[2] | won[3]);
        }
        unit += planes;
      }
    };
    std::int64_t chunk = begin;
    for (; chunk < free; chunk += kChunk<Real>) chunk_of(Constant<true>{}, Constant<false>{}, chunk);
    for (; chunk < whole; chunk += kChunk<Real>) chunk_of(Constant<true>{}, Constant<true>{}, chunk);
    if (chunk < end) chunk_of(Constant<false>{}, Constant<true>{}, chunk);
    take_best(a, s, largest_lane<Real>(top));
  });
  a.stray = a.stray || emission.any_stray();
}

// Even states with the odd ones behind them: into the former from themselves and from the odd state before;
// into the latter from themselves, from the even state beside them, and from the odd state before.
template <typename Real, bool kRecord, typename Emission>
void step_pairs(StepArguments<Real>& a) {
  using V = Vec<Real>;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  const Adder<Real> add;
  const std::int64_t pitch = a.arcs[0]->pitch();
  const std::int64_t half = a.arcs[0]->half();
  [[maybe_unused]] IntVec<Real> where;
  for (int l = 0; l < L; ++l) where[l] = static_cast<typename Simd<Real>::Int>(l + L - 1);
  Emission emission{};
  each_frame(a, [&](int s) __attribute__((always_inline)) {
    const Real* const previous = a.previous[s];
    Real* const score = a.score[s];
    const Real* const weight = a.arcs[s]->weights();
    const std::int64_t free = a.arcs[s]->free() < a.end ? a.arcs[s]->free() : a.end;
    const V shift = splat<V>(-a.shift[s]);
    const V even_emission = splat<V>(a.densities[s][a.index[s][0]]);
    V top = splat<V>(kNever<Real>);
    [[maybe_unused]] V before{};
    if constexpr (kHasWindow) before = add(load<V>(previous + half + a.begin - L), shift);
    emission.open(a.densities[s], a.states, a.density_count, a.index[s]);
    [[maybe_unused]] Unit<Real>* unit = a.back[s] + 2 * (a.begin / kChunk<Real>);
    const std::int64_t second = 2 * (half / kChunk<Real>);
    const auto chunk_of = [&](auto weighted, std::int64_t chunk) __attribute__((always_inline)) {
      [[maybe_unused]] std::uint32_t won[3] = {};
#pragma GCC unroll 2
      for (int k = 0; k < kVectors; ++k) {
        const std::int64_t i = chunk + k * L;
        const auto passed = [&](V x, int r, std::int64_t place) __attribute__((always_inline)) {
          if constexpr (decltype(weighted)::value) x = add(x, load<V>(weight + r * pitch + place));
          return x;
        };
        const V even = add(load<V>(previous + i), shift);
        const V odd = add(load<V>(previous + half + i), shift);
        V low;
        if constexpr (kHasWindow) {
          low = window<Real>(before, where, odd);
          before = odd;
        } else {
          low = add(load<V>(previous + half + i - 1), shift);
        }
        V best = passed(low, 1, i);
        V other = passed(even, 2, i);
        if constexpr (kRecord) won[0] |= greater_bits(other, best) << (k * L);
        best = add(max(other, best), even_emission);
        store(score + i, best);
        top = max(best, top);
        best = add(low, load<V>(weight + half + i));
        other = passed(even, 1, half + i);
        if constexpr (kRecord) won[1] |= greater_bits(other, best) << (k * L);
        best = max(other, best);
        other = passed(odd, 2, half + i);
        if constexpr (kRecord) won[2] |= greater_bits(other, best) << (k * L);
        best = add(max(other, best), emission.template at<true>(half + i));
        store(score + half + i, best);
        top = max(best, top);
      }
      if constexpr (kRecord) {
        // Two planes: a choice of three.
        unit[0] = static_cast<Unit<Real>>(~won[0]);
        unit[1] = static_cast<Unit<Real>>(won[0]);
        unit[second] = static_cast<Unit<Real>>(won[1] & ~won[2]);
        unit[second + 1] = static_cast<Unit<Real>>(won[2]);
        unit += 2;
      }
    };
    std::int64_t chunk = a.begin;
    for (; chunk < free; chunk += kChunk<Real>) chunk_of(Constant<false>{}, chunk);
    for (; chunk < a.end; chunk += kChunk<Real>) chunk_of(Constant<true>{}, chunk);
    take_best(a, s, largest_lane<Real>(top));
  });
}

// Any slots, gathered.
template <typename Real, bool kRecord, typename Emission>
void step_gathered(StepArguments<Real>& a) {
  using V = Vec<Real>;
  using Int = typename Simd<Real>::Int;
  constexpr std::int64_t L = kLanes<Real>;
  constexpr int kVectors = static_cast<int>(kChunk<Real> / L);
  Emission emission{};
  each_frame(a, [&](int s) {
    emission.open(a.densities[s], a.states, a.density_count, a.index[s]);
    const ArcTable<Real>& arcs = *a.arcs[s];
    const V shift = splat<V>(a.shift[s]);
    const std::int64_t pitch = arcs.pitch();
    const int planes = arcs.planes();
    const int width = arcs.width();
    const Real* weight = arcs.weights();
    const Real* previous = a.previous[s];
    const std::int32_t* source = arcs.sources();
    V top = splat<V>(kNever<Real>);
    for (std::int64_t chunk = a.begin; chunk < a.end; chunk += kChunk<Real>) {
      [[maybe_unused]] IntVec<Real> chosen[kVectors];
      for (int k = 0; k < kVectors; ++k) {
        const std::int64_t j = chunk + k * L;
        V best = (gather<V>(previous, source + j) - shift) + load<V>(weight + j);
        IntVec<Real> choice{};
        for (int r = 1; r < width; ++r) {
          const std::int64_t at = r * pitch + j;
          const V other = (gather<V>(previous, source + at) - shift) + load<V>(weight + at);
          if constexpr (kRecord) choice = other > best ? splat<IntVec<Real>>(static_cast<Int>(r)) : choice;
          best = max(other, best);
        }
        if constexpr (kRecord) chosen[k] = choice;
        best = best + emission.template at<false>(j);
        store(a.score[s] + j, best);
        top = max(best, top);
      }
      if constexpr (kRecord) {
        Unit<Real>* unit = a.back[s] + chunk / kChunk<Real> * planes;
        for (int p = 0; p < planes; ++p) {
          std::uint32_t set = 0;
          for (int k = 0; k < kVectors; ++k)
            set |= nonzero_bits<Real>(chosen[k] & static_cast<Int>(Int{1} << p)) << (k * L);
          unit[p] = static_cast<Unit<Real>>(set);
        }
      }
    }
    take_best(a, s, largest_lane<Real>(top));
  });
  a.stray = a.stray || emission.any_stray();
}

template <typename Real>
using Step = void (*)(StepArguments<Real>&);

template <typename Real, bool kNear, bool kRecord, typename Emission>
Step<Real> step_of_width(int width) {
  switch (width) {
    case 1:
      return &step_band<Real, 1, kNear, kRecord, Emission>;
    case 2:
      return &step_band<Real, 2, kNear, kRecord, Emission>;
    case 3:
      return &step_band<Real, 3, kNear, kRecord, Emission>;
    default:
      return &step_band<Real, 4, kNear, kRecord, Emission>;
  }
}

template <typename Real, bool kRecord, typename Emission>
Step<Real> step_for(const ArcTable<Real>& arcs) {
  if (!arcs.banded()) return &step_gathered<Real, kRecord, Emission>;
  if constexpr (kHasWindow) {
    if (arcs.near()) return step_of_width<Real, true, kRecord, Emission>(arcs.width());
  }
  return step_of_width<Real, false, kRecord, Emission>(arcs.width());
}

template <typename Real, bool kRecord>
Step<Real> step_for(const ArcTable<Real>& arcs, const Model<Real>& m) {
  if (m.emission_index == nullptr) return step_for<Real, kRecord, OwnEmission<Real>>(arcs);
  if constexpr (kHasWindow) {
    if (m.densities <= FewEmissions<Real>::kMost) {
      if (arcs.paired()) return &step_pairs<Real, kRecord, FewEmissions<Real>>;
      return step_for<Real, kRecord, FewEmissions<Real>>(arcs);
    }
  }
  if (arcs.paired()) return &step_pairs<Real, kRecord, SharedEmission<Real>>;
  return step_for<Real, kRecord, SharedEmission<Real>>(arcs);
}

}  // namespace detail

HMM_END_TARGET
