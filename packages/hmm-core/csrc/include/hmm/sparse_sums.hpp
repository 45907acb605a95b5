// One step of a recursion: what comes into each state along its arcs.
//
//   sum[j] = sum_r message[source_r(j)] * weight_r(j)
//
// in numbers with exponents of their own: the terms of a sum are scaled to the largest.
#pragma once

#include <cstdint>

#include "hmm/arcs.hpp"
#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"
#include "hmm/sparse_weights.hpp"

HMM_BEGIN_TARGET

namespace sparse {

// A message over all states, zero outside of a range, with room around it that bands may read.
template <typename Real>
class Message {
 public:
  using Int = IntOf<Real>;

  void open(std::int64_t K) {
    const std::int64_t n = K + 2 * kMargin;
    mantissa_.reserve(n);
    exponent_.reserve(n);
    for (std::int64_t i = 0; i < n; ++i) {
      mantissa_[i] = 0;
      exponent_[i] = Format<Real>::kZeroExponent;
    }
    lo_ = hi_ = 0;
  }
  Real* m() { return mantissa_.data() + kMargin; }
  Int* e() { return exponent_.data() + kMargin; }
  const Real* m() const { return mantissa_.data() + kMargin; }
  const Int* e() const { return exponent_.data() + kMargin; }

  // Announces that the states lo..hi-1 will be written, all of them.
  void cover(std::int64_t lo, std::int64_t hi) {
    clear(lo_, hi_ < lo ? hi_ : lo);
    clear(lo_ > hi ? lo_ : hi, hi_);
    lo_ = lo;
    hi_ = hi;
  }

 private:
  static constexpr std::int64_t kMargin = Arcs::kMargin + Arcs::kWidth;

  void clear(std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      m()[i] = 0;
      e()[i] = Format<Real>::kZeroExponent;
    }
  }

  Buffer<Real> mantissa_;
  Buffer<Int> exponent_;
  std::int64_t lo_ = 0, hi_ = 0;
};

// message * weight; zero has the exponent of zero.
template <typename Real, bool kWide>
HMM_INLINE Extended<Real> term(Vec<Real> m, IntVec<Real> e, const Real* weight, const IntOf<Real>* exponent) {
  const Vec<Real> p = m * load<Vec<Real>>(weight);
  if constexpr (kWide) e = e + load<IntVec<Real>>(exponent);
  return {p, p == 0 ? splat_int<Real>(Format<Real>::kZeroExponent) : e};
}

// Uses of an arc: alpha * term / 2^unit * factor.
template <typename Real>
HMM_INLINE Vec<Real> uses(Extended<Real> alpha, Extended<Real> x, IntVec<Real> unit, Vec<Real> factor) {
  return alpha.m * x.m * power_of_two<Real>(alpha.e + x.e - unit) * factor;
}

// What counting needs: the forward message of the frame (its state 0), and the likelihood in units of the
// messages.
template <typename Real>
struct Count {
  const Real* m;
  const IntOf<Real>* e;
  IntOf<Real> unit;
  Real factor;
  Real* uses;  // of every position; added to
};

template <typename Real>
class Sums {
 public:
  using Int = IntOf<Real>;
  using V = Vec<Real>;
  using I = IntVec<Real>;
  static constexpr std::int64_t kRoom = Arcs::kChunk + 2 * Arcs::kWidth;

  // A team's members have Sums of their own, with memory for everything before they begin.
  void open(std::int32_t longest_fan) {
    fan_m_.reserve(longest_fan);
    fan_e_.reserve(longest_fan);
    if (mantissa_.size() > 0) return;
    mantissa_.reserve(kRoom);
    exponent_.reserve(kRoom);
    for (std::int64_t i = 0; i < kRoom; ++i) {
      mantissa_[i] = 0;
      exponent_[i] = Format<Real>::kZeroExponent;
    }
  }
  // Of the chunk's first state.
  Real* m() { return mantissa_.data(); }
  Int* e() { return exponent_.data(); }

  // Forms the sums of the states lo..hi-1 of a chunk (and of some around them, which are not meant).
  void form(const Arcs& arcs, const Weights<Real>& weights, const Chunk& chunk, std::int64_t lo,
            std::int64_t hi, const Message<Real>& from) {
    weights.wide() ? form_as<true>(arcs, weights, chunk, lo, hi, from)
                   : form_as<false>(arcs, weights, chunk, lo, hi, from);
  }

  // Adds the uses of the arcs of the states lo..hi-1 of a chunk.
  static void count(const Arcs& arcs, const Weights<Real>& weights, const Chunk& chunk, std::int64_t lo,
                    std::int64_t hi, const Message<Real>& from, const Count<Real>& counts) {
    weights.wide() ? count_as<true>(arcs, weights, chunk, lo, hi, from, counts)
                   : count_as<false>(arcs, weights, chunk, lo, hi, from, counts);
  }

 private:
  template <bool kWide>
  void form_as(const Arcs& arcs, const Weights<Real>& weights, const Chunk& chunk, std::int64_t lo,
               std::int64_t hi, const Message<Real>& from) {
    for (std::int32_t i = chunk.first_band; i < chunk.end_band; ++i) {
      const Band& band = arcs.band(i);
      if (band.end <= lo) continue;
      if (band.begin >= hi) break;
      const std::int64_t a = band.begin > lo ? band.begin : lo;
      const std::int64_t b = band.end < hi ? band.end : hi;
      switch (band.slots) {
        case 1:
          band_sums<1, kWide>(band, weights, a, b, chunk.begin, from);
          break;
        case 2:
          band_sums<2, kWide>(band, weights, a, b, chunk.begin, from);
          break;
        case 3:
          band_sums<3, kWide>(band, weights, a, b, chunk.begin, from);
          break;
        default:
          band_sums<4, kWide>(band, weights, a, b, chunk.begin, from);
          break;
      }
    }
    for (std::int32_t i = chunk.first_group; i < chunk.end_group; ++i) {
      const Group& group = arcs.group(i);
      if (group.highest < lo || group.lowest >= hi) continue;
      group_sums<kWide>(arcs, group, weights, chunk.begin, from);
    }
    for (std::int32_t i = chunk.first_fan; i < chunk.end_fan; ++i) {
      const Fan& fan = arcs.fan(i);
      if (fan.state < lo || fan.state >= hi) continue;
      fan_sum<kWide>(arcs, fan, weights, chunk.begin, from);
    }
  }

  template <int N, bool kWide>
  void band_sums(const Band& band, const Weights<Real>& weights, std::int64_t a, std::int64_t b,
                 std::int64_t origin, const Message<Real>& from) {
    const Real* m = from.m();
    const Int* e = from.e();
    const Real* value = weights.value() + (band.first - band.begin);
    const Int* exponent = weights.exponent() + (band.first - band.begin);
    const std::int64_t pitch = band.pitch;
    std::int64_t offset[N];
    for (int r = 0; r < N; ++r) offset[r] = band.offset[r];
    Real* sum_m = mantissa_.data() - origin;
    Int* sum_e = exponent_.data() - origin;
    for (std::int64_t j = a; j < b; j += kLanes<Real>) {
      V p[N];
      I x[N];
      I top = splat_int<Real>(Format<Real>::kZeroExponent);
      for (int r = 0; r < N; ++r) {
        const Extended<Real> y = term<Real, kWide>(load<V>(m + j + offset[r]), load<I>(e + j + offset[r]),
                                                   value + r * pitch + j, exponent + r * pitch + j);
        p[r] = y.m;
        x[r] = y.e;
        top = max(top, y.e);
      }
      V total = p[0] * power_of_two<Real>(x[0] - top);
      for (int r = 1; r < N; ++r) total = madd(p[r], power_of_two<Real>(x[r] - top), total);
      store(sum_m + j, total);
      store(sum_e + j, top);
    }
  }

  template <bool kWide>
  void group_sums(const Arcs& arcs, const Group& group, const Weights<Real>& weights, std::int64_t origin,
                  const Message<Real>& from) {
    const std::int32_t* source = arcs.source(group.first);
    const std::int32_t* target = arcs.target(group.target);
    for (std::int32_t begin = 0; begin < group.lanes; begin += static_cast<std::int32_t>(kLanes<Real>)) {
      V p[Arcs::kGroupSlots];
      I x[Arcs::kGroupSlots];
      I top = splat_int<Real>(Format<Real>::kZeroExponent);
      for (std::int32_t r = 0; r < group.slots; ++r) {
        const std::int64_t at = r * Arcs::kWidth + begin;
        const std::int64_t position = group.first + at;
        const Extended<Real> y =
            term<Real, kWide>(gather<V>(from.m(), source + at), gather<I>(from.e(), source + at),
                              weights.value() + position, weights.exponent() + position);
        p[r] = y.m;
        x[r] = y.e;
        top = max(top, y.e);
      }
      V total{};
      for (std::int32_t r = 0; r < group.slots; ++r)
        total = madd(p[r], power_of_two<Real>(x[r] - top), total);
      const std::int32_t rest = group.lanes - begin;
      for (std::int32_t l = 0; l < kLanes<Real> && l < rest; ++l) {
        mantissa_[target[begin + l] - origin] = total[l];
        exponent_[target[begin + l] - origin] = top[l];
      }
    }
  }

  template <bool kWide>
  void fan_sum(const Arcs& arcs, const Fan& fan, const Weights<Real>& weights, std::int64_t origin,
               const Message<Real>& from) {
    const std::int32_t* source = arcs.source(fan.first);
    I top = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int32_t r = 0; r < fan.slots; r += static_cast<std::int32_t>(kLanes<Real>)) {
      const Extended<Real> y =
          term<Real, kWide>(gather<V>(from.m(), source + r), gather<I>(from.e(), source + r),
                            weights.value() + fan.first + r, weights.exponent() + fan.first + r);
      store(fan_m_.data() + r, y.m);
      store(fan_e_.data() + r, y.e);
      top = max(top, y.e);
    }
    const Int highest = largest(top);
    V total{};
    for (std::int32_t r = 0; r < fan.slots; r += static_cast<std::int32_t>(kLanes<Real>))
      total =
          madd(load<V>(fan_m_.data() + r), power_of_two<Real>(load<I>(fan_e_.data() + r) - highest), total);
    mantissa_[fan.state - origin] = sum(total);
    exponent_[fan.state - origin] = highest;
  }

  template <bool kWide>
  static void count_as(const Arcs& arcs, const Weights<Real>& weights, const Chunk& chunk, std::int64_t lo,
                       std::int64_t hi, const Message<Real>& from, const Count<Real>& counts) {
    const V factor = splat<V>(counts.factor);
    const I unit = splat_int<Real>(counts.unit);
    for (std::int32_t i = chunk.first_band; i < chunk.end_band; ++i) {
      const Band& band = arcs.band(i);
      if (band.end <= lo) continue;
      if (band.begin >= hi) break;
      const std::int64_t a = band.begin > lo ? band.begin : lo;
      const std::int64_t b = band.end < hi ? band.end : hi;
      for (std::int64_t j = a; j < b; j += kLanes<Real>) {
        const I meant = lanes_before<Real>(j, b);
        const Extended<Real> alpha{
            meant ? load<V>(counts.m + j) : V{},
            meant ? load<I>(counts.e + j) : splat_int<Real>(Format<Real>::kZeroExponent)};
        for (int r = 0; r < band.slots; ++r) {
          const std::int64_t position = band.first + r * band.pitch + (j - band.begin);
          Extended<Real> y = term<Real, kWide>(load<V>(from.m() + j + band.offset[r]),
                                               load<I>(from.e() + j + band.offset[r]),
                                               weights.value() + position, weights.exponent() + position);
          y.m = meant ? y.m : V{};
          y.e = meant ? y.e : splat_int<Real>(Format<Real>::kZeroExponent);
          const V more = uses<Real>(alpha, y, unit, factor);
          Real* to = counts.uses + position;
          if (j + kLanes<Real> <= b) {
            store(to, load<V>(to) + more);
          } else {
            // Lanes behind the band belong to other arcs, perhaps to those of another thread.
            store_first(to, load_first<V>(to, b - j, Real{}) + more, b - j);
          }
        }
      }
    }
    for (std::int32_t i = chunk.first_group; i < chunk.end_group; ++i) {
      const Group& group = arcs.group(i);
      if (group.highest < lo || group.lowest >= hi) continue;
      const std::int32_t* target = arcs.target(group.target);
      for (std::int32_t begin = 0; begin < group.lanes; begin += static_cast<std::int32_t>(kLanes<Real>)) {
        Extended<Real> alpha = zero<Real>();
        for (std::int32_t l = 0; l < kLanes<Real> && begin + l < group.lanes; ++l) {
          const std::int32_t j = target[begin + l];
          if (j < lo || j >= hi) continue;
          alpha.m[l] = counts.m[j];
          alpha.e[l] = counts.e[j];
        }
        for (std::int32_t r = 0; r < group.slots; ++r) {
          const std::int64_t position = group.first + r * Arcs::kWidth + begin;
          add<kWide>(arcs.source(position), weights, position, from, alpha, unit, factor, counts.uses);
        }
      }
    }
    for (std::int32_t i = chunk.first_fan; i < chunk.end_fan; ++i) {
      const Fan& fan = arcs.fan(i);
      if (fan.state < lo || fan.state >= hi) continue;
      const Extended<Real> alpha{splat<V>(counts.m[fan.state]), splat_int<Real>(counts.e[fan.state])};
      for (std::int32_t r = 0; r < fan.slots; r += static_cast<std::int32_t>(kLanes<Real>)) {
        const std::int64_t position = fan.first + r;
        add<kWide>(arcs.source(position), weights, position, from, alpha, unit, factor, counts.uses);
      }
    }
  }

  template <bool kWide>
  static HMM_INLINE void add(const std::int32_t* source, const Weights<Real>& weights, std::int64_t position,
                             const Message<Real>& from, Extended<Real> alpha, I unit, V factor,
                             Real* counts) {
    const Extended<Real> y = term<Real, kWide>(gather<V>(from.m(), source), gather<I>(from.e(), source),
                                               weights.value() + position, weights.exponent() + position);
    store(counts + position, load<V>(counts + position) + uses<Real>(alpha, y, unit, factor));
  }

  Buffer<Real> mantissa_, fan_m_;
  Buffer<Int> exponent_, fan_e_;
};

}  // namespace sparse

HMM_END_TARGET
