// What the vector extension of the compiler cannot say in one instruction: comparisons as bits, loads of a
// part of a vector, and a window over two vectors. Plain loops where the machine has nothing.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/simd.hpp"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#if HMM_VECTOR_BYTES == 64
#define HMM_HAS_AVX512 1
#else
#define HMM_HAS_AVX512 0
#endif

HMM_BEGIN_TARGET

// Bit l is set where lane l of a is greater than lane l of b.
HMM_INLINE std::uint32_t greater_bits(Vec<float> a, Vec<float> b) {
#if HMM_HAS_AVX512
  return _mm512_cmp_ps_mask(bits<__m512>(a), bits<__m512>(b), _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<std::uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(bits<__m256>(a), bits<__m256>(b), _CMP_GT_OQ)));
#elif defined(__SSE4_1__)
  return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps(bits<__m128>(a), bits<__m128>(b))));
#else
  std::uint32_t set = 0;
  for (int l = 0; l < kLanes<float>; ++l) set |= static_cast<std::uint32_t>(a[l] > b[l]) << l;
  return set;
#endif
}

HMM_INLINE std::uint32_t greater_bits(Vec<double> a, Vec<double> b) {
#if HMM_HAS_AVX512
  return _mm512_cmp_pd_mask(bits<__m512d>(a), bits<__m512d>(b), _CMP_GT_OQ);
#elif defined(__AVX2__)
  return static_cast<std::uint32_t>(
      _mm256_movemask_pd(_mm256_cmp_pd(bits<__m256d>(a), bits<__m256d>(b), _CMP_GT_OQ)));
#elif defined(__SSE4_1__)
  return static_cast<std::uint32_t>(_mm_movemask_pd(_mm_cmpgt_pd(bits<__m128d>(a), bits<__m128d>(b))));
#else
  std::uint32_t set = 0;
  for (int l = 0; l < kLanes<double>; ++l) set |= static_cast<std::uint32_t>(a[l] > b[l]) << l;
  return set;
#endif
}

// Whether NaN or +inf was among some vectors.
template <typename Real>
class Strays {
 public:
#if HMM_HAS_AVX512
  HMM_INLINE void see(Vec<Real> x) {
    constexpr int kNanOrInfinity = 0x89;  // quiet or signalling NaN, +inf
    if constexpr (sizeof(Real) == 4) {
      seen_ = _kor_mask16(seen_, _mm512_fpclass_ps_mask(bits<__m512>(x), kNanOrInfinity));
    } else {
      seen_ = _kor_mask16(seen_, _mm512_fpclass_pd_mask(bits<__m512d>(x), kNanOrInfinity));
    }
  }
  HMM_INLINE bool any() const { return seen_ != 0; }

 private:
  __mmask16 seen_ = 0;
#else
  // A comparison with NaN is false.
  HMM_INLINE void see(Vec<Real> x) { right_ &= x <= splat<Vec<Real>>(std::numeric_limits<Real>::max()); }
  HMM_INLINE bool any() const { return hmm::any(~right_); }

 private:
  IntVec<Real> right_ = IntVec<Real>{} - 1;
#endif
};

// Bit l is set where lane l of an integer vector is not zero.
template <typename Real>
HMM_INLINE std::uint32_t nonzero_bits(IntVec<Real> x) {
#if HMM_HAS_AVX512
  if constexpr (sizeof(Real) == 4) {
    return _mm512_test_epi32_mask(bits<__m512i>(x), bits<__m512i>(x));
  } else {
    return _mm512_test_epi64_mask(bits<__m512i>(x), bits<__m512i>(x));
  }
#else
  const IntVec<Real> mask = x != 0;
#if defined(__AVX2__)
  if constexpr (sizeof(Real) == 4) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(bits<__m256>(mask)));
  } else {
    return static_cast<std::uint32_t>(_mm256_movemask_pd(bits<__m256d>(mask)));
  }
#elif defined(__SSE4_1__)
  if constexpr (sizeof(Real) == 4) {
    return static_cast<std::uint32_t>(_mm_movemask_ps(bits<__m128>(mask)));
  } else {
    return static_cast<std::uint32_t>(_mm_movemask_pd(bits<__m128d>(mask)));
  }
#else
  std::uint32_t set = 0;
  for (int l = 0; l < kLanes<Real>; ++l) set |= static_cast<std::uint32_t>(mask[l] & 1) << l;
  return set;
#endif
#endif
}

// The first n lanes, 0 <= n <= lanes; the others hold `rest` and their memory is not read.
HMM_INLINE Vec<float> load_part(const float* from, std::int64_t n, float rest) {
#if HMM_HAS_AVX512
  const auto mask = static_cast<__mmask16>((1U << n) - 1U);
  return bits<Vec<float>>(_mm512_mask_loadu_ps(_mm512_set1_ps(rest), mask, from));
#else
  return load_first<Vec<float>>(from, n, rest);
#endif
}

HMM_INLINE Vec<double> load_part(const double* from, std::int64_t n, double rest) {
#if HMM_HAS_AVX512
  const auto mask = static_cast<__mmask8>((1U << n) - 1U);
  return bits<Vec<double>>(_mm512_mask_loadu_pd(_mm512_set1_pd(rest), mask, from));
#else
  return load_first<Vec<double>>(from, n, rest);
#endif
}

// a + b, on the units that multiply: where a machine adds and compares on the same units (Zen 4), sums and
// maxima in turn run twice as fast. The same bits as +: one rounding of the exact sum.
template <typename Real>
class Adder {
 public:
  HMM_INLINE Adder() {
#if HMM_HAS_AVX512 || defined(__FMA__)
    one_ = splat<Vec<Real>>(Real{1});
    asm("" : "+v"(one_));  // Otherwise the compiler would make an addition of it again.
#endif
  }
  HMM_INLINE Vec<Real> operator()(Vec<Real> a, Vec<Real> b) const {
#if HMM_HAS_AVX512
    if constexpr (sizeof(Real) == 4) {
      return bits<Vec<Real>>(_mm512_fmadd_ps(bits<__m512>(a), bits<__m512>(one_), bits<__m512>(b)));
    } else {
      return bits<Vec<Real>>(_mm512_fmadd_pd(bits<__m512d>(a), bits<__m512d>(one_), bits<__m512d>(b)));
    }
#elif defined(__FMA__)
    if constexpr (sizeof(Real) == 4) {
      return bits<Vec<Real>>(_mm256_fmadd_ps(bits<__m256>(a), bits<__m256>(one_), bits<__m256>(b)));
    } else {
      return bits<Vec<Real>>(_mm256_fmadd_pd(bits<__m256d>(a), bits<__m256d>(one_), bits<__m256d>(b)));
    }
#else
    return a + b;
#endif
  }

 private:
#if HMM_HAS_AVX512 || defined(__FMA__)
  Vec<Real> one_;
#endif
};

// Greatest lane, by halves.
template <typename Real>
HMM_INLINE Real largest_lane(Vec<Real> v) {
#if HMM_HAS_AVX512
  typedef Real Half __attribute__((vector_size(32)));
  typedef Real Quarter __attribute__((vector_size(16)));
  Half halves[2];
  std::memcpy(halves, &v, sizeof(v));
  const Half half = max(halves[0], halves[1]);
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof(half));
  return largest(max(quarters[0], quarters[1]));
#else
  return largest(v);
#endif
}

// Whether window() is one instruction.
constexpr bool kHasWindow = HMM_HAS_AVX512 != 0;

// Lane l of (low, high), two vectors in a row, at position index[l].
template <typename Real>
HMM_INLINE Vec<Real> window(Vec<Real> low, IntVec<Real> index, Vec<Real> high) {
#if HMM_HAS_AVX512
  if constexpr (sizeof(Real) == 4) {
    return bits<Vec<Real>>(
        _mm512_permutex2var_ps(bits<__m512>(low), bits<__m512i>(index), bits<__m512>(high)));
  } else {
    return bits<Vec<Real>>(
        _mm512_permutex2var_pd(bits<__m512d>(low), bits<__m512i>(index), bits<__m512d>(high)));
  }
#else
  Vec<Real> v{};
  for (int l = 0; l < kLanes<Real>; ++l) {
    const auto at = index[l];
    v[l] = at < kLanes<Real> ? low[at] : high[at - kLanes<Real>];
  }
  return v;
#endif
}

HMM_END_TARGET
