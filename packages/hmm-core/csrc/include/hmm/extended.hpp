// Numbers with a mantissa and an exponent of their own: sums and products of probabilities of any size
// without a logarithm, an exponential, or an underflow.
//
//   value = m * 2^e,   m in [0.5, 4) where not said otherwise, or 0
//
// A sum over R arcs costs R multiplications and R scalings by powers of two, about a tenth of a log-sum-exp,
// and loses nothing that a log-sum-exp would keep: terms are scaled to the largest, and only what is 2^126
// times smaller (2^1022 in double) disappears.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "hmm/simd.hpp"

HMM_BEGIN_TARGET

template <typename Real>
struct Format;

template <>
struct Format<float> {
  static constexpr int kMantissaBits = 23;
  static constexpr std::int32_t kBias = 127;
  static constexpr std::int32_t kMantissaMask = 0x007fffff;
  static constexpr std::int32_t kOne = 0x3f800000;
  // Exponent of 0. Three of them add up without overflow.
  static constexpr std::int32_t kZeroExponent = -(1 << 29);
  // Smallest exponent of anything else: 2^-268435456, e^-186065279.
  static constexpr std::int32_t kLowestExponent = -(1 << 28);
  static constexpr float kLog2E = 1.44269504088896341f;
  static constexpr float kLn2High = 0.693359375f;  // 10 bits, exact products with small integers
  static constexpr float kLn2Low = -2.12194440054690583e-4f;
  static constexpr float kExpLimit = 1e8f;  // exp() clamps its argument here
  // Adding it rounds smaller numbers to integers, and leaves these in the low bits.
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  // What is left of an argument without a multiple of ln 2: half of it, but for the rounding of large
  // arguments.
  static constexpr float kLongestRest = 0.35f;
};

template <>
struct Format<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr std::int64_t kBias = 1023;
  static constexpr std::int64_t kMantissaMask = 0x000fffffffffffffLL;
  static constexpr std::int64_t kOne = 0x3ff0000000000000LL;
  static constexpr std::int64_t kZeroExponent = -(std::int64_t{1} << 60);
  static constexpr std::int64_t kLowestExponent = -(std::int64_t{1} << 59);
  static constexpr double kLog2E = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kExpLimit = 1e15;
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLongestRest = 0.35;
};

// A vector of extended numbers.
template <typename Real>
struct Extended {
  Vec<Real> m;
  IntVec<Real> e;
};

template <typename Real>
HMM_INLINE IntVec<Real> splat_int(typename Simd<Real>::Int x) {
  return x - IntVec<Real>{};
}

template <typename Real>
HMM_INLINE Extended<Real> zero() {
  return {Vec<Real>{}, splat_int<Real>(Format<Real>::kZeroExponent)};
}

// 2^d for d <= 127 (1023); 0 where d < -126 (-1022).
template <typename Real>
HMM_INLINE Vec<Real> power_of_two(IntVec<Real> d) {
  using F = Format<Real>;
  const IntVec<Real> biased = max(d + F::kBias, IntVec<Real>{});
  return bits<Vec<Real>>(biased << F::kMantissaBits);
}

// x * 2^-e: an ordinary number, relative to 2^e, flushed to 0 below 2^-126 (2^-1022) of it. x.e <= e + 127.
template <typename Real>
HMM_INLINE Vec<Real> relative_to(Extended<Real> x, IntVec<Real> e) {
  return x.m * power_of_two<Real>(x.e - e);
}

// Any non-negative normal number (not a subnormal) as an extended one, times 2^e; mantissa in [1, 2).
template <typename Real>
HMM_INLINE Extended<Real> extend(Vec<Real> x, IntVec<Real> e) {
  using F = Format<Real>;
  const IntVec<Real> raw = bits<IntVec<Real>>(x);
  const IntVec<Real> exponent =
      max(e + (raw >> F::kMantissaBits) - F::kBias, splat_int<Real>(F::kLowestExponent));
  const IntVec<Real> mantissa = (raw & F::kMantissaMask) | F::kOne;
  const auto nothing = x == 0;
  return {nothing ? Vec<Real>{} : bits<Vec<Real>>(mantissa),
          nothing ? splat_int<Real>(F::kZeroExponent) : exponent};
}

// Product; mantissas multiply, so at most 30 normalised factors before the next extend().
template <typename Real>
HMM_INLINE Extended<Real> operator*(Extended<Real> a, Extended<Real> b) {
  return {a.m * b.m, a.e + b.e};
}

// Brings the mantissa back to [1, 2), and zero to its own exponent.
template <typename Real>
HMM_INLINE Extended<Real> normalized(Extended<Real> x) {
  return extend<Real>(x.m, x.e);
}

template <typename Real>
HMM_INLINE Extended<Real> operator+(Extended<Real> a, Extended<Real> b) {
  const IntVec<Real> e = max(a.e, b.e);
  return extend<Real>(relative_to<Real>(a, e) + relative_to<Real>(b, e), e);
}

// Powers of two below this leave a rest of half of ln 2 and a little.
template <typename Real>
constexpr typename Simd<Real>::Int kUsual = typename Simd<Real>::Int{1} << (Format<Real>::kMantissaBits - 7);

// x - n * ln 2.
template <typename Real>
HMM_INLINE Vec<Real> without_ln2(Vec<Real> x, Vec<Real> n) {
  using F = Format<Real>;
  return madd(n, splat<Vec<Real>>(-F::kLn2Low), madd(n, splat<Vec<Real>>(-F::kLn2High), x));
}

// exp(r) of |r| <= kLongestRest.
HMM_INLINE Vec<float> exp_rest(Vec<float> r) {
  using V = Vec<float>;
  V p = splat<V>(1.9875691500e-4f);
  p = madd(p, r, splat<V>(1.3981999507e-3f));
  p = madd(p, r, splat<V>(8.3334519073e-3f));
  p = madd(p, r, splat<V>(4.1665795894e-2f));
  p = madd(p, r, splat<V>(1.6666665459e-1f));
  p = madd(p, r, splat<V>(5.0000001201e-1f));
  return madd(p * r, r, r) + 1.0f;
}

HMM_INLINE Vec<double> exp_rest(Vec<double> r) {
  using V = Vec<double>;
  V p = splat<V>(1.0 / 6227020800.0);
  p = madd(p, r, splat<V>(1.0 / 479001600.0));
  p = madd(p, r, splat<V>(1.0 / 39916800.0));
  p = madd(p, r, splat<V>(1.0 / 3628800.0));
  p = madd(p, r, splat<V>(1.0 / 362880.0));
  p = madd(p, r, splat<V>(1.0 / 40320.0));
  p = madd(p, r, splat<V>(1.0 / 5040.0));
  p = madd(p, r, splat<V>(1.0 / 720.0));
  p = madd(p, r, splat<V>(1.0 / 120.0));
  p = madd(p, r, splat<V>(1.0 / 24.0));
  p = madd(p, r, splat<V>(1.0 / 6.0));
  p = madd(p, r, splat<V>(0.5));
  return madd(p * r, r, r) + 1.0;
}

// exp(x) of most x, the same bits as exp_loose(x): not of infinities, and not of |x| > 45000 (2e13), of which
// `unusual` keeps a trace for any_unusual().
template <typename V>
HMM_INLINE auto exp_usual(V x, decltype(x > x)* unusual) {
  using Real = std::decay_t<decltype(x[0])>;
  using F = Format<Real>;
  using Int = typename Simd<Real>::Int;
  const V rounded = x * F::kLog2E + F::kMagic;
  const IntVec<Real> n = bits<IntVec<Real>>(rounded) - bits<Int>(F::kMagic);
  *unusual |= n + kUsual<Real>;
  return Extended<Real>{exp_rest(without_ln2<Real>(x, rounded - F::kMagic)), n};
}

template <typename Real>
HMM_INLINE bool any_unusual(IntVec<Real> unusual) {
  return any(unusual & ~(2 * kUsual<Real> - 1));
}

// exp(x) of any x; mantissa in [0.7, 1.42), or, for -inf, 0 with any exponent. Within 2 ulp (1 ulp up to |x|
// = 2) while |x| <= 2000; beyond, exp of a number that is less than 2 ulp away from x.
HMM_INLINE Extended<float> exp_loose(Vec<float> x) {
  using F = Format<float>;
  using V = Vec<float>;
  const V bounded = min(max(x, splat<V>(-F::kExpLimit)), splat<V>(F::kExpLimit));
  const IntVec<float> n = nearest(bounded * F::kLog2E);
  V r = without_ln2<float>(bounded, __builtin_convertvector(n, V));
  r = min(max(r, splat<V>(-F::kLongestRest)), splat<V>(F::kLongestRest));
  return {x == -std::numeric_limits<float>::infinity() ? V{} : exp_rest(r), n};
}

HMM_INLINE Extended<double> exp_loose(Vec<double> x) {
  using F = Format<double>;
  using V = Vec<double>;
  const V bounded = min(max(x, splat<V>(-F::kExpLimit)), splat<V>(F::kExpLimit));
  const V rounded = bounded * F::kLog2E + F::kMagic;
  V r = without_ln2<double>(bounded, rounded - F::kMagic);
  r = min(max(r, splat<V>(-F::kLongestRest)), splat<V>(F::kLongestRest));
  return {x == -std::numeric_limits<double>::infinity() ? V{} : exp_rest(r),
          bits<IntVec<double>>(rounded) - bits<std::int64_t>(F::kMagic)};
}

// The same, and the exponent of 0 where it is 0.
template <typename V>
HMM_INLINE auto exp_extended(V x) {
  using Real = std::decay_t<decltype(x[0])>;
  Extended<Real> y = exp_loose(x);
  y.e = y.m == 0 ? splat_int<Real>(Format<Real>::kZeroExponent) : y.e;
  return y;
}

// exp(x) as ordinary numbers, for x <= 0 or a little above; 0 below 2^-126 (2^-1022).
template <typename Real>
HMM_INLINE Vec<Real> exp(Vec<Real> x) {
  return relative_to<Real>(exp_extended(x), IntVec<Real>{});
}

// Natural logarithm of positive normal numbers; -inf of 0. Below 1 ulp.
HMM_INLINE Vec<float> log(Vec<float> x) {
  using V = Vec<float>;
  using I = IntVec<float>;
  const I raw = bits<I>(x);
  const I e = (raw - 0x3f3504f3) >> 23;  // the mantissa lies in [sqrt(1/2), sqrt(2))
  const V f = bits<V>(raw - (e << 23)) - 1.0f;
  const V ef = __builtin_convertvector(e, V);
  const V z = f * f;
  V p = splat<V>(7.0376836292e-2f);
  p = madd(p, f, splat<V>(-1.1514610310e-1f));
  p = madd(p, f, splat<V>(1.1676998740e-1f));
  p = madd(p, f, splat<V>(-1.2420140846e-1f));
  p = madd(p, f, splat<V>(1.4249322787e-1f));
  p = madd(p, f, splat<V>(-1.6668057665e-1f));
  p = madd(p, f, splat<V>(2.0000714765e-1f));
  p = madd(p, f, splat<V>(-2.4999993993e-1f));
  p = madd(p, f, splat<V>(3.3333331174e-1f));
  V y = p * f * z;
  y = madd(ef, splat<V>(-2.12194440e-4f), y);
  y = madd(z, splat<V>(-0.5f), y);
  y = madd(ef, splat<V>(0.693359375f), f + y);
  return x == 0 ? splat<V>(-std::numeric_limits<float>::infinity()) : y;
}

// The method of FreeBSD's e_log.c: log(1+f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f/(2+f).
HMM_INLINE Vec<double> log(Vec<double> x) {
  using V = Vec<double>;
  using I = IntVec<double>;
  const I raw = bits<I>(x);
  // As raw - bits(sqrt(1/2)) may be negative: arithmetic shift.
  const I e = (raw - 0x3fe6a09e667f3bcdLL) >> 52;
  const V f = bits<V>(raw - (e << 52)) - 1.0;
  // |e| < 2^51: through the bits of 1.5 * 2^52.
  constexpr double kMagic = Format<double>::kMagic;
  const V ef = bits<V>(e + bits<std::int64_t>(kMagic)) - kMagic;
  const V s = f / (f + 2.0);
  const V z = s * s;
  V p = splat<V>(1.479819860511658591e-01);
  p = madd(p, z, splat<V>(1.531383769920937332e-01));
  p = madd(p, z, splat<V>(1.818357216161805012e-01));
  p = madd(p, z, splat<V>(2.222219843214978396e-01));
  p = madd(p, z, splat<V>(2.857142874366239149e-01));
  p = madd(p, z, splat<V>(3.999999999940941908e-01));
  p = madd(p, z, splat<V>(6.666666666666735130e-01));
  p = p * z;
  const V half_square = 0.5 * f * f;
  const V y = madd(ef, splat<V>(6.93147180369123816490e-01),
                   f - (half_square - (s * (half_square + p) + ef * 1.90821492927058770002e-10)));
  return x == 0 ? splat<V>(-std::numeric_limits<double>::infinity()) : y;
}

HMM_END_TARGET
