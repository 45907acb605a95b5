// Vectors of a register's width, in the GCC and Clang vector extension: +, *, comparisons and ?: work lane by
// lane.
//
// Nothing here adds lanes to each other except sum(), whose order is fixed: a result depends neither on where
// in a batch a value stands nor on what stands beside it.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

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

template <typename To, typename From>
HMM_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits keep their number");
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

// from[index[l]] in lane l. Instructions that gather are no faster (Zen 4).
template <typename V, typename Scalar>
HMM_INLINE V gather(const Scalar* from, const std::int32_t* index) {
  V v{};
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(Scalar));
  for (int l = 0; l < kCount; ++l) v[l] = from[index[l]];
  return v;
}

// Whether a lane is one of the first n.
template <typename V>
HMM_INLINE auto first_lanes(std::int64_t n) {
  using Mask = decltype(V{} > V{});
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(V{}[0]));
  Mask lane{};
  for (int l = 0; l < kCount; ++l) lane[l] = l;
  return lane < static_cast<decltype(+lane[0])>(n) - Mask{};
}

// The first n lanes, 0 <= n <= kLanes; the others hold `rest`. Nothing beyond the first n is touched.
template <typename V, typename Scalar>
HMM_INLINE V load_first(const Scalar* from, std::int64_t n, Scalar rest) {
#if HMM_VECTOR_BYTES == 64
  const unsigned mask = (1u << n) - 1u;
  const V others = rest - V{};
  if constexpr (sizeof(Scalar) == 4) {
    return bits<V>(_mm512_mask_loadu_epi32(bits<__m512i>(others), static_cast<__mmask16>(mask), from));
  } else {
    return bits<V>(_mm512_mask_loadu_epi64(bits<__m512i>(others), static_cast<__mmask8>(mask), from));
  }
#elif HMM_VECTOR_BYTES == 32
  const auto chosen = first_lanes<V>(n);
  V v;
  if constexpr (sizeof(Scalar) == 4) {
    v = bits<V>(_mm256_maskload_epi32(reinterpret_cast<const int*>(from), bits<__m256i>(chosen)));
  } else {
    v = bits<V>(_mm256_maskload_epi64(reinterpret_cast<const long long*>(from), bits<__m256i>(chosen)));
  }
  return chosen ? v : rest - V{};
#else
  V v = rest - V{};
  for (std::int64_t l = 0; l < n; ++l) v[l] = from[l];
  return v;
#endif
}

template <typename V, typename Scalar>
HMM_INLINE void store_first(Scalar* to, V v, std::int64_t n) {
#if HMM_VECTOR_BYTES == 64
  const unsigned mask = (1u << n) - 1u;
  if constexpr (sizeof(Scalar) == 4) {
    _mm512_mask_storeu_epi32(to, static_cast<__mmask16>(mask), bits<__m512i>(v));
  } else {
    _mm512_mask_storeu_epi64(to, static_cast<__mmask8>(mask), bits<__m512i>(v));
  }
#elif HMM_VECTOR_BYTES == 32
  const auto chosen = first_lanes<V>(n);
  if constexpr (sizeof(Scalar) == 4) {
    _mm256_maskstore_epi32(reinterpret_cast<int*>(to), bits<__m256i>(chosen), bits<__m256i>(v));
  } else {
    _mm256_maskstore_epi64(reinterpret_cast<long long*>(to), bits<__m256i>(chosen), bits<__m256i>(v));
  }
#else
  for (std::int64_t l = 0; l < n; ++l) to[l] = v[l];
#endif
}

template <typename V, typename Scalar>
HMM_INLINE V splat(Scalar x) {
  return x - V{};
}

template <typename V>
HMM_INLINE V max(V a, V b) {
  return a > b ? a : b;
}

template <typename V>
HMM_INLINE V min(V a, V b) {
  return a < b ? a : b;
}

#if HMM_VECTOR_BYTES == 64
// The same in one instruction, which GCC does not see.
HMM_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return bits<Vec<float>>(_mm512_maskz_max_ps(static_cast<__mmask16>(-1), bits<__m512>(a), bits<__m512>(b)));
}
HMM_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return bits<Vec<float>>(_mm512_maskz_min_ps(static_cast<__mmask16>(-1), bits<__m512>(a), bits<__m512>(b)));
}
HMM_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return bits<Vec<double>>(
      _mm512_maskz_max_pd(static_cast<__mmask8>(-1), bits<__m512d>(a), bits<__m512d>(b)));
}
HMM_INLINE Vec<double> min(Vec<double> a, Vec<double> b) {
  return bits<Vec<double>>(
      _mm512_maskz_min_pd(static_cast<__mmask8>(-1), bits<__m512d>(a), bits<__m512d>(b)));
}
#endif

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

// Nearest integers of |x| < 2^31.
HMM_INLINE IntVec<float> nearest(Vec<float> x) {
#if HMM_VECTOR_BYTES == 64
  return bits<IntVec<float>>(_mm512_maskz_cvtps_epi32(static_cast<__mmask16>(-1), bits<__m512>(x)));
#elif HMM_VECTOR_BYTES == 32
  return bits<IntVec<float>>(_mm256_cvtps_epi32(bits<__m256>(x)));
#elif defined(__SSE2__)
  return bits<IntVec<float>>(_mm_cvtps_epi32(bits<__m128>(x)));
#else
  return __builtin_convertvector(x + (x < 0 ? splat<Vec<float>>(-0.5f) : splat<Vec<float>>(0.5f)),
                                 IntVec<float>);
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

// The lower or upper half of the lanes.
template <int half, typename V>
HMM_INLINE auto half_of(V v) {
  using Scalar = std::decay_t<decltype(v[0])>;
  typedef Scalar Half __attribute__((vector_size(sizeof(V) / 2)));
  Half halves[2];
  std::memcpy(halves, &v, sizeof(V));
  return halves[half];
}

// Greatest lane.
template <typename V>
HMM_INLINE auto largest(V v) {
  if constexpr (sizeof(V) > 16) {
    const auto low = half_of<0>(v);
    const auto high = half_of<1>(v);
    return largest(low > high ? low : high);
  } else {
    constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(v[0]));
    V other = rotate<kCount / 2>(v);
    v = v > other ? v : other;
    if constexpr (kCount == 4) {
      other = rotate<1>(v);
      v = v > other ? v : other;
    }
    return v[0];
  }
}

// Sum of the lanes, in a tree: lane l and lane l + n/2 first.
template <typename V>
HMM_INLINE auto sum(V v) {
  if constexpr (sizeof(V) > 16) {
    return sum(half_of<0>(v) + half_of<1>(v));
  } else {
    constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(v[0]));
    v = v + rotate<kCount / 2>(v);
    if constexpr (kCount == 4) v = v + rotate<1>(v);
    return v[0];
  }
}

// Whether a lane of a comparison is true.
template <typename I>
HMM_INLINE bool any(I mask) {
#if HMM_VECTOR_BYTES == 64
  return _mm512_test_epi64_mask(bits<__m512i>(mask), bits<__m512i>(mask)) != 0;
#elif HMM_VECTOR_BYTES == 32
  return _mm256_testz_si256(bits<__m256i>(mask), bits<__m256i>(mask)) == 0;
#else
  constexpr int kWords = static_cast<int>(sizeof(I) / 8);
  std::uint64_t words[kWords];
  std::memcpy(words, &mask, sizeof(I));
  std::uint64_t seen = 0;
  for (int w = 0; w < kWords; ++w) seen |= words[w];
  return seen != 0;
#endif
}

HMM_END_TARGET
