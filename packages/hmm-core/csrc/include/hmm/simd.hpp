// Vectors of a register's width, in the GCC and Clang vector extension: +, *, comparisons and ?: work lane by
// lane.
//
// Nothing here adds lanes to each other except sum(), whose order is fixed: a result depends neither on where
// in a batch a value stands nor on what stands beside it.
#pragma once

#include <cstdint>
#include <cstring>

#include "hmm/target.hpp"

HMM_BEGIN_TARGET

template <typename Real>
struct Simd;

template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(HMM_VECTOR_BYTES)));
  typedef std::int32_t I __attribute__((vector_size(HMM_VECTOR_BYTES)));
  using Int = std::int32_t;
  static constexpr std::int64_t kLanes = HMM_VECTOR_BYTES / 4;
};

template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(HMM_VECTOR_BYTES)));
  typedef std::int64_t I __attribute__((vector_size(HMM_VECTOR_BYTES)));
  using Int = std::int64_t;
  static constexpr std::int64_t kLanes = HMM_VECTOR_BYTES / 8;
};

template <typename Real>
using Vec = typename Simd<Real>::V;
template <typename Real>
using IntVec = typename Simd<Real>::I;
template <typename Real>
constexpr std::int64_t kLanes = Simd<Real>::kLanes;

// n rounded up to whole vectors.
template <typename Real>
constexpr std::int64_t padded(std::int64_t n) {
  return (n + kLanes<Real> - 1) / kLanes<Real> * kLanes<Real>;
}

template <typename V, typename Scalar>
HMM_INLINE V load(const Scalar* from) {
  V v;
  std::memcpy(&v, from, sizeof(V));
  return v;
}

template <typename V, typename Scalar>
HMM_INLINE void store(Scalar* to, V v) {
  std::memcpy(to, &v, sizeof(V));
}

// The first n lanes; the others hold `rest`.
template <typename V, typename Scalar>
HMM_INLINE V load_first(const Scalar* from, std::int64_t n, Scalar rest) {
  V v = rest - V{};
  for (std::int64_t l = 0; l < n; ++l) v[l] = from[l];
  return v;
}

template <typename V, typename Scalar>
HMM_INLINE void store_first(Scalar* to, V v, std::int64_t n) {
  for (std::int64_t l = 0; l < n; ++l) to[l] = v[l];
}

template <typename V, typename Scalar>
HMM_INLINE V splat(Scalar x) {
  return x - V{};
}

template <typename To, typename From>
HMM_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits keep their number");
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

template <typename V>
HMM_INLINE V max(V a, V b) {
  return a > b ? a : b;
}

template <typename V>
HMM_INLINE V min(V a, V b) {
  return a < b ? a : b;
}

// a * b + c, in one rounding where the machine has the instruction.
template <typename V>
HMM_INLINE V madd(V a, V b, V c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(a[0]));
  for (int l = 0; l < kCount; ++l) {
    if constexpr (sizeof(a[0]) == 4) {
      c[l] = __builtin_fmaf(a[l], b[l], c[l]);
    } else {
      c[l] = __builtin_fma(a[l], b[l], c[l]);
    }
  }
  return c;
#else
  return a * b + c;
#endif
}

// The same lanes, each moved down by `distance`, around the end.
template <int distance, typename V>
HMM_INLINE V rotate(V v) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(v[0]));
  decltype(v > v) from{};
  for (int l = 0; l < kCount; ++l) from[l] = (l + distance) % kCount;
#if defined(__clang__)
  V moved{};
  for (int l = 0; l < kCount; ++l) moved[l] = v[from[l]];
  return moved;
#else
  return __builtin_shuffle(v, from);
#endif
}

// Greatest lane.
template <typename V>
HMM_INLINE auto largest(V v) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(v[0]));
  if constexpr (kCount >= 16) v = max(v, rotate<8>(v));
  if constexpr (kCount >= 8) v = max(v, rotate<4>(v));
  if constexpr (kCount >= 4) v = max(v, rotate<2>(v));
  v = max(v, rotate<1>(v));
  return v[0];
}

// Sum of the lanes, in a tree.
template <typename V>
HMM_INLINE auto sum(V v) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(v[0]));
  if constexpr (kCount >= 16) v = v + rotate<8>(v);
  if constexpr (kCount >= 8) v = v + rotate<4>(v);
  if constexpr (kCount >= 4) v = v + rotate<2>(v);
  v = v + rotate<1>(v);
  return v[0];
}

// Whether a lane of a comparison is true.
template <typename I>
HMM_INLINE bool any(I mask) {
  constexpr int kWords = static_cast<int>(sizeof(I) / 8);
  std::uint64_t words[kWords];
  std::memcpy(words, &mask, sizeof(I));
  std::uint64_t seen = 0;
  for (int w = 0; w < kWords; ++w) seen |= words[w];
  return seen != 0;
}

HMM_END_TARGET
