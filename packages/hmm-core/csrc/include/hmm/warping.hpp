// What two-dimensional recursions over pairs of sequences share.
//
// A strip of kStripRows rows is computed by anti-diagonals: at step t, row k of the strip is at column t - k,
// so that all rows move at once and each needs only what its neighbours had one and two steps before. Row k
// stands in vector k / kLanes, lane kLanes - 1 - k % kLanes: the last row of a vector is lane 0.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/frame_cost.hpp"
#include "hmm/simd.hpp"
#include "hmm/warping_model.hpp"

HMM_BEGIN_TARGET

namespace detail {

template <typename Real>
struct Unsigned;
template <>
struct Unsigned<float> {
  using Int = std::uint32_t;
  typedef std::uint32_t V __attribute__((vector_size(HMM_VECTOR_BYTES)));
};
template <>
struct Unsigned<double> {
  using Int = std::uint64_t;
  typedef std::uint64_t V __attribute__((vector_size(HMM_VECTOR_BYTES)));
};

template <typename Real>
using UIntVec = typename Unsigned<Real>::V;

template <typename Real>
constexpr int kStripVectors = static_cast<int>(kStripRows / kLanes<Real>);

// Lanes 1, 2, ... of a, then lane 0 of b: every row takes what the row before it had.
template <typename V>
HMM_INLINE V slide_down(V a, V b) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(a[0]));
#if defined(__clang__)
  V moved{};
  for (int l = 0; l + 1 < kCount; ++l) moved[l] = a[l + 1];
  moved[kCount - 1] = b[0];
  return moved;
#else
  decltype(a > a) from{};
  for (int l = 0; l < kCount; ++l) from[l] = l + 1;
  return __builtin_shuffle(a, b, from);
#endif
}

// The last lane of b, then lanes 0, 1, ... of a: every row takes what the row after it had.
template <typename V>
HMM_INLINE V slide_up(V a, V b) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(a[0]));
#if defined(__clang__)
  V moved{};
  for (int l = 1; l < kCount; ++l) moved[l] = a[l - 1];
  moved[0] = b[kCount - 1];
  return moved;
#else
  decltype(a > a) from{};
  for (int l = 0; l < kCount; ++l) from[l] = kCount + l - 1;
  return __builtin_shuffle(b, a, from);
#endif
}

// a0 b0 a1 b1 ... from the lower half of the lanes (offset 0), or from the upper.
template <int offset, typename V>
HMM_INLINE V interleave(V a, V b) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(a[0]));
#if defined(__clang__)
  V mixed{};
  for (int l = 0; l < kCount; ++l) mixed[l] = l % 2 == 0 ? a[offset + l / 2] : b[offset + l / 2];
  return mixed;
#else
  decltype(a > a) from{};
  for (int l = 0; l < kCount; ++l) from[l] = offset + l / 2 + (l % 2) * kCount;
  return __builtin_shuffle(a, b, from);
#endif
}

// Lane l of row r becomes lane r of row l. Interleaving the two halves of the rows rotates the bits of (row,
// lane) by one place; log2(lanes) times swaps row and lane.
template <typename V>
HMM_INLINE void transpose(V* row) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(row[0][0]));
  V other[kCount];
  for (int done = 1; done < kCount; done *= 2) {
    for (int i = 0; i < kCount / 2; ++i) {
      other[2 * i] = interleave<0>(row[i], row[i + kCount / 2]);
      other[2 * i + 1] = interleave<kCount / 2>(row[i], row[i + kCount / 2]);
    }
    for (int i = 0; i < kCount; ++i) row[i] = other[i];
  }
}

// Columns of the rows of one strip.
struct Strip {
  std::int64_t first = 0;  // row of the pair
  std::int64_t rows = 0;   // 1..kStripRows
  std::int64_t start = 0;  // first step
  std::int64_t stop = 0;   // one past the last step
  std::int64_t begin[kStripRows];
  std::int64_t end[kStripRows];
  // For each vector of rows: the steps at which all its rows are inside.
  std::int64_t inside[kStripRows];
  std::int64_t outside[kStripRows];

  std::int64_t steps() const { return stop - start; }
};

// Memory that holds the rows of a strip.
template <typename Number>
struct StripRows {
  Number* first;       // column 0 of the first row
  std::int64_t pitch;  // from one row to the next
  std::int64_t
      beyond;  // from a number to the one of the next strip, to be fetched early; 0: nothing to fetch
};

// One pair.
template <typename Real>
struct Pair {
  const Real* cost;  // null: from the frames
  FrameCosts<Real>* frames;
  std::int64_t pitch;  // from one row of costs to the next
  std::int64_t n;
  std::int64_t m;
  const std::int64_t* begin;
  const std::int64_t* end;

  // `keep`: the costs of frames will be read twice.
  Pair(const Warping<Real>& w, std::int64_t b, FrameCosts<Real>& costs, bool keep = false)
      : cost(w.cost == nullptr ? nullptr : w.cost + b * w.rows * w.columns),
        frames(&costs),
        pitch(w.columns),
        n(w.lengths_x[b]),
        m(w.lengths_y[b]),
        begin(w.begin == nullptr ? nullptr : w.begin + b * w.rows),
        end(w.end == nullptr ? nullptr : w.end + b * w.rows) {
    if (cost == nullptr) costs.open(w, b, keep);
  }

  std::int64_t strips() const { return (n + kStripRows - 1) / kStripRows; }
  std::int64_t first_column(std::int64_t i) const { return begin == nullptr ? 0 : begin[i]; }
  std::int64_t last_column(std::int64_t i) const { return end == nullptr ? m : end[i]; }

  // The columns first..limit-1 of a strip.
  template <typename Lanes>
  void open(std::int64_t index, Strip& strip, std::int64_t first = 0,
            std::int64_t limit = std::numeric_limits<std::int64_t>::max()) const {
    constexpr std::int64_t kCount = kLanes<Lanes>;
    strip.first = index * kStripRows;
    strip.rows = n - strip.first < kStripRows ? n - strip.first : kStripRows;
    for (std::int64_t k = 0; k < strip.rows; ++k) {
      strip.begin[k] = first_column(strip.first + k);
      strip.end[k] = last_column(strip.first + k);
      if (strip.begin[k] < first) strip.begin[k] = first;
      if (strip.end[k] > limit) strip.end[k] = limit;
    }
    for (std::int64_t k = strip.rows; k < kStripRows; ++k) strip.begin[k] = strip.end[k] = 0;
    for (std::int64_t v = 0; v < kStripRows / kCount; ++v) {
      const bool whole = (v + 1) * kCount <= strip.rows;
      strip.inside[v] = whole ? 0 : std::numeric_limits<std::int64_t>::max();
      strip.outside[v] = whole ? std::numeric_limits<std::int64_t>::max() : 0;
      for (std::int64_t k = v * kCount; whole && k < (v + 1) * kCount; ++k) {
        if (strip.begin[k] + k > strip.inside[v]) strip.inside[v] = strip.begin[k] + k;
        if (strip.end[k] + k < strip.outside[v]) strip.outside[v] = strip.end[k] + k;
      }
    }
    strip.start = strip.begin[0];
    strip.stop = strip.end[strip.rows - 1] + strip.rows - 1;
    if (strip.stop < strip.start) strip.stop = strip.start;
  }

  // Costs of a strip. `direction`: 1 if the one below comes next, -1 if the one above.
  StripRows<const Real> costs(const Strip& strip, int direction) const {
    if (cost != nullptr) return {cost + strip.first * pitch, pitch, direction * kStripRows * pitch};
    return {frames->strip(strip.first, strip.rows, strip.begin[0], strip.end[strip.rows - 1]),
            frames->pitch(), 0};
  }

  // Costs of frames whose columns are yet to be asked for.
  StripRows<const Real> open_costs(const Strip& strip) const {
    return {frames->open_strip(strip.first, strip.rows), frames->pitch(), 0};
  }
};

// Finds NaN and -inf at the price of a rotation and a maximum: rotated left by one bit, the bits of +inf are
// those of the greatest admissible number.
template <typename Real>
class Watch {
 public:
  HMM_INLINE void see(Vec<Real> x) {
    using U = UIntVec<Real>;
    const U raw = bits<U>(x);
    const U key = (raw << 1) | (raw >> (sizeof(Real) * 8 - 1));
    greatest_ = key > greatest_ ? key : greatest_;
  }
  bool wrong() const {
    using Int = typename Unsigned<Real>::Int;
    const Int limit = static_cast<Int>(bits<Int>(std::numeric_limits<Real>::infinity()) << 1);
    bool found = false;
    for (std::int64_t l = 0; l < kLanes<Real>; ++l) found = found || greatest_[l] > limit;
    return found;
  }

 private:
  UIntVec<Real> greatest_{};
};

// kLanes<Real> numbers of any precision.
template <typename Real, typename In>
HMM_INLINE Vec<Real> load_as(const In* from) {
  if constexpr (sizeof(In) == sizeof(Real)) {
    return load<Vec<Real>>(from);
  } else {
    typedef In Narrow __attribute__((vector_size(sizeof(In) * kLanes<Real>)));
    return __builtin_convertvector(load<Narrow>(from), Vec<Real>);
  }
}

// Costs of vector v of a strip at steps t..t+kLanes-1, one vector for each step; +inf outside the band.
template <typename Real, typename In>
HMM_INLINE void load_skewed(const StripRows<const In>& costs, const Strip& strip, int v, std::int64_t t,
                            Watch<Real>& watch, Vec<Real>* out) {
  using V = Vec<Real>;
  constexpr std::int64_t kCount = kLanes<Real>;
  V row[kCount];
  const std::int64_t k0 = v * kCount;
  if (t >= strip.inside[v] && t + kCount <= strip.outside[v]) {
    const In* from = costs.first + k0 * costs.pitch + t - k0;
    for (std::int64_t k = 0; k < kCount; ++k) {
      const In* const next = from + k * (costs.pitch - 1);
      row[kCount - 1 - k] = load_as<Real>(next);
      // So many rows at once are more than the machine foresees by itself.
      __builtin_prefetch(next + costs.beyond, 0, 2);
      watch.see(row[kCount - 1 - k]);
    }
  } else {
    for (std::int64_t k = 0; k < kCount; ++k) {
      alignas(64) Real columns[kCount];
      for (Real& c : columns) c = std::numeric_limits<Real>::infinity();
      const std::int64_t column = t - k0 - k;
      const std::int64_t offset = (k0 + k) * costs.pitch + column;
      std::int64_t c = strip.begin[k0 + k] - column;
      std::int64_t stop = strip.end[k0 + k] - column;
      if (c < 0) c = 0;
      if (stop > kCount) stop = kCount;
      for (; c < stop; ++c) columns[c] = static_cast<Real>(costs.first[offset + c]);
      row[kCount - 1 - k] = load<V>(columns);
      watch.see(row[kCount - 1 - k]);
    }
  }
  transpose(row);
  for (std::int64_t s = 0; s < kCount; ++s) out[s] = row[s];
}

// The way back: values of vector v of a strip at steps t..t+kLanes-1, times a factor, to where their costs
// stand.
template <typename Real, typename In>
HMM_INLINE void store_skewed(const StripRows<In>& to, const Strip& strip, int v, std::int64_t t, Real factor,
                             Vec<Real>* row) {
  constexpr std::int64_t kCount = kLanes<Real>;
  const std::int64_t k0 = v * kCount;
  const bool whole = sizeof(In) == sizeof(Real) && t >= strip.inside[v] && t + kCount <= strip.outside[v];
  transpose(row);
  for (std::int64_t k = 0; k < kCount; ++k) {
    const Vec<Real> values = row[kCount - 1 - k] * factor;
    const std::int64_t column = t - k0 - k;
    In* const at = to.first + (k0 + k) * to.pitch + column;
    if (whole) {
      __builtin_prefetch(at + to.beyond, 1, 2);
      std::memcpy(at, &values, sizeof(values));
    } else {
      std::int64_t c = strip.begin[k0 + k] - column;
      std::int64_t stop = strip.end[k0 + k] - column;
      if (c < 0) c = 0;
      if (stop > kCount) stop = kCount;
      for (; c < stop; ++c) at[c] = static_cast<In>(values[c]);
    }
  }
}

}  // namespace detail

HMM_END_TARGET
