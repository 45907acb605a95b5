// Weights and emission scores as numbers that a message can be multiplied with.
//
// Where all of a table lies within the range of ordinary numbers, one multiplication does; otherwise ("wide")
// every value has an exponent of its own, and nothing is lost either way.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/arcs.hpp"
#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"

HMM_BEGIN_TARGET

namespace sparse {

template <typename Real>
using IntOf = typename Simd<Real>::Int;

template <typename Real>
constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

// A product of a mantissa, a narrow weight and a narrow emission score, and a sum of those weights, are
// normal numbers: e^-20 e^-60 > 2^-126.
constexpr int kNarrowWeight = 20;
template <typename Real>
constexpr Real kNarrowEmission = sizeof(Real) == 4 ? Real(60) : Real(600);

// Lanes of a vector that starts at i and of which those from `end` on are not meant.
template <typename Real>
HMM_INLINE IntVec<Real> lanes_before(std::int64_t i, std::int64_t end) {
  IntVec<Real> lane;
  for (std::int64_t l = 0; l < kLanes<Real>; ++l) lane[l] = static_cast<IntOf<Real>>(l);
  return lane < splat_int<Real>(static_cast<IntOf<Real>>(end - i));
}

// Greatest and least finite value.
template <typename Real>
struct Span {
  Real high = -kInfinity<Real>;
  Real low = kInfinity<Real>;

  void add(const Span& other) {
    high = other.high > high ? other.high : high;
    low = other.low < low ? other.low : low;
  }
};

template <typename Real>
Span<Real> span(const Real* x, std::int64_t n) {
  using V = Vec<Real>;
  V high = splat<V>(-kInfinity<Real>);
  V low = splat<V>(kInfinity<Real>);
  const auto see = [&](V v) {
    high = max(high, v);
    low = min(low, v == -kInfinity<Real> ? splat<V>(kInfinity<Real>) : v);
  };
  std::int64_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) see(load<V>(x + i));
  if (i < n) see(n < kLanes<Real> ? load_first<V>(x, n, -kInfinity<Real>) : load<V>(x + n - kLanes<Real>));
  return {largest(high), -largest(-low)};
}

// The weights of all arcs, as the arcs are arranged.
template <typename Real>
class Weights {
 public:
  void fill(const Arcs& arcs, const Real* log_weight) {
    using V = Vec<Real>;
    const std::int64_t n = room(arcs);
    value_.reserve(n);
    const std::int64_t* entry = arcs.entry();
    for (std::int64_t p = 0; p < arcs.positions(); ++p)
      value_[p] = entry[p] < 0 ? -kInfinity<Real> : log_weight[entry[p]];
    for (std::int64_t p = arcs.positions(); p < n; ++p) value_[p] = -kInfinity<Real>;
    const Span<Real> values = span(value_.data(), n);
    wide_ = values.high > kNarrowWeight || values.low < -kNarrowWeight;
    if (wide_) exponent_.reserve(n);
    for (std::int64_t p = 0; p < n; p += kLanes<Real>) {
      const Extended<Real> x = exp_extended(load<V>(value_.data() + p));
      if (wide_) {
        store(value_.data() + p, x.m);
        store(exponent_.data() + p, x.e);
      } else {
        store(value_.data() + p, relative_to<Real>(x, IntVec<Real>{}));
      }
    }
  }
  // Positions, and as many more as a vector may reach behind them.
  static std::int64_t room(const Arcs& arcs) { return padded<Real>(arcs.positions()) + Arcs::kWidth; }
  bool wide() const { return wide_; }
  const Real* value() const { return value_.data(); }
  const IntOf<Real>* exponent() const { return exponent_.data(); }

 private:
  Buffer<Real> value_;
  Buffer<IntOf<Real>> exponent_;
  bool wide_ = false;
};

// Emission scores of one frame: exp(score) = value * 2^(exponent + scale) * e^base, exponent 0 if not wide.
template <typename Real>
struct Frame {
  Real* value = nullptr;
  IntOf<Real>* exponent = nullptr;
  bool wide = false;
  std::int64_t scale = 0;
  double base = 0;
  Real shift = 0;

  // For scores that lie within a span.
  void open(Span<Real> scores) {
    // Scores of ordinary size are exponentiated as they are, which rounds nothing. Very large ones lose less
    // relative to their peak.
    constexpr Real kLarge = 2048;
    const bool possible = scores.high > -kInfinity<Real>;
    const Real peak = possible ? scores.high : Real(0);
    shift = peak > kLarge || peak < -kLarge ? peak : Real(0);
    base = static_cast<double>(shift);
    scale = static_cast<std::int64_t>((peak - shift) * Format<Real>::kLog2E);
    wide = possible && !(peak - scores.low <= kNarrowEmission<Real>);
  }

  // Scores begin..end-1 of x.
  void convert(const Real* x, std::int64_t begin, std::int64_t end) const {
    using V = Vec<Real>;
    const IntVec<Real> origin = splat_int<Real>(static_cast<IntOf<Real>>(scale));
    std::int64_t i = begin;
    for (; i + kLanes<Real> <= end; i += kLanes<Real>) {
      const Extended<Real> y = exp_extended(load<V>(x + i) - shift);
      if (wide) {
        store(value + i, y.m);
        store(exponent + i, y.e - origin);
      } else {
        store(value + i, relative_to<Real>(y, origin));
      }
    }
    if (i == end) return;
    const Extended<Real> y = exp_extended(load_first<V>(x + i, end - i, -kInfinity<Real>) - shift);
    if (wide) {
      store_first(value + i, y.m, end - i);
      store_first(exponent + i, y.e - origin, end - i);
    } else {
      store_first(value + i, relative_to<Real>(y, origin), end - i);
    }
  }
};

// Where the scores of consecutive states are found.
enum class Source {
  kDirect,  // one for each state
  kTable,   // among those of the densities
  kSmall,   // among at most 64 of them: looked up in registers
};

#if defined(__AVX512F__) && !defined(__clang__)
template <typename Real>
constexpr bool kLooksUpInRegisters = sizeof(Real) == 4;
#else
template <typename Real>
constexpr bool kLooksUpInRegisters = false;
#endif
constexpr std::int64_t kSmallTable = 64;

// Only where kLooksUpInRegisters; reads all kSmallTable entries, whatever the size.
template <typename Real>
HMM_INLINE Vec<Real> look_up([[maybe_unused]] const Real* table, [[maybe_unused]] IntVec<Real> index,
                             [[maybe_unused]] std::int64_t size) {
#if defined(__AVX512F__) && !defined(__clang__)
  using V = Vec<Real>;
  const V low = __builtin_shuffle(load<V>(table), load<V>(table + 16), index);
  if (size <= 32) return low;
  const V high = __builtin_shuffle(load<V>(table + 32), load<V>(table + 48), index);
  return index < 32 ? low : high;
#else
  return Vec<Real>{};
#endif
}

template <typename Real, bool kWide, Source source>
struct Scores {
  const Real* value;
  const IntOf<Real>* exponent;
  const std::int32_t* index;
  std::int64_t size;

  // Of n states from j on: what another thread may write behind them is not read.
  HMM_INLINE Extended<Real> first(std::int64_t j, std::int64_t n) const {
    if constexpr (source != Source::kDirect) return at(j);
    Extended<Real> x{load_first<Vec<Real>>(value + j, n, Real{}), {}};
    if constexpr (kWide) x.e = load_first<IntVec<Real>>(exponent + j, n, IntOf<Real>{});
    return x;
  }
  // Of the states from j on.
  HMM_INLINE Extended<Real> at(std::int64_t j) const {
    Extended<Real> x{{}, {}};
    if constexpr (source == Source::kDirect) {
      x.m = load<Vec<Real>>(value + j);
      if constexpr (kWide) x.e = load<IntVec<Real>>(exponent + j);
    } else if constexpr (source == Source::kSmall) {
      const IntVec<Real> density = load<IntVec<Real>>(index + j);
      x.m = look_up<Real>(value, density, size);
      if constexpr (kWide)
        x.e = bits<IntVec<Real>>(look_up<Real>(reinterpret_cast<const Real*>(exponent), density, size));
    }
    return x;
  }
};

}  // namespace sparse

HMM_END_TARGET
