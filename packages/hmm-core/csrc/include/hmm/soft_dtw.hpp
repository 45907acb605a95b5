// Soft dynamic time warping: the soft minimum over all alignments, and its gradient, the expected alignment.
//
//   R[i, j] = exp(-c[i, j] / gamma) (R[i-1, j-1] + R[i, j-1] + R[i-1, j]),     value = -gamma log R[N-1, M-1]
//
// R has an exponent of its own (extended.hpp), so that a cell costs one exponential and no logarithm. The
// gradient needs only the shares p = R[predecessor] / sum, ordinary numbers between 0 and 1:
//
//   E[i, j] = E[i+1, j+1] p_diagonal[i+1, j+1] + E[i, j+1] p_left[i, j+1] + E[i+1, j] p_up[i+1, j]
//
// The shares of one strip at a time are computed from the row above it, which alone is kept: (N / 32) M
// numbers. E flows to earlier columns only, and far from the best path it is too small for a number: the way
// back computes a strip up to the last column that anything flows into, and stops where all has flowed off.
// Of costs that come from frames, E goes on to the frames strip by strip; neither is ever whole.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "hmm/extended.hpp"
#include "hmm/frame_gradient.hpp"
#include "hmm/warping.hpp"

HMM_BEGIN_TARGET

namespace detail {

// 2^f on [-1/2, 1/2] is 1 + f q(f), q the polynomial through its Chebyshev nodes: relative error 5e-9 and
// 2e-19.
template <typename Real>
struct PowerOfTwo;
template <>
struct PowerOfTwo<float> {
  static constexpr int kTerms = 6;
  static constexpr float kQ[kTerms] = {0.693147188026228781f,   0.240226507605681269f,
                                       0.0555035711421907782f,  0.00961808255727785149f,
                                       0.00133908633646712344f, 0.000154531629451206902f};
  static constexpr float kMagic =
      12582912.0f;                            // adding 1.5 * 2^23 rounds to an integer, left in the low bits
  static constexpr float kMost = 2097152.0f;  // arguments up to here
};
template <>
struct PowerOfTwo<double> {
  static constexpr int kTerms = 12;
  static constexpr double kQ[kTerms] = {
      0.693147180559945309,   0.240226506959100712,    0.055504108664821627,     0.00961812910762847949,
      0.00133335581464064707, 0.000154035303933707334, 0.0000152527338415567726, 1.32154868087055628e-6,
      1.01780570877339411e-7, 7.05489730415549928e-9,  4.45581790833606449e-10,  2.57293241773623042e-11};
  static constexpr double kMagic = 6755399441055744.0;
  static constexpr double kMost = 1125899906842624.0;
};

// exp(-cost / gamma), and the greatest finite magnitude of log2 of it.
template <typename Real>
class Weigher {
 public:
  explicit Weigher(double gamma) {
    const double scale = -1.44269504088896340736 / gamma;
    scale_ = static_cast<Real>(scale);
    rest_ = static_cast<Real>(scale - static_cast<double>(scale_));
  }

  HMM_INLINE Extended<Real> operator()(Vec<Real> cost) {
    using P = PowerOfTwo<Real>;
    using V = Vec<Real>;
    const auto possible = cost < std::numeric_limits<Real>::infinity();
    const V bounded = possible ? cost : V{};
    const V power = bounded * scale_;
    // What rounding took from the product, and from the scale.
    const V lost = madd(bounded, splat<V>(rest_), madd(bounded, splat<V>(scale_), -power));
    greatest_ = max(
        greatest_, bits<V>(bits<IntVec<Real>>(power) & std::numeric_limits<typename Simd<Real>::Int>::max()));
    const V rounded = power + P::kMagic;
    const IntVec<Real> exponent = bits<IntVec<Real>>(rounded) - bits<typename Simd<Real>::Int>(P::kMagic);
    const V f = (power - (rounded - P::kMagic)) + lost;
    V q = splat<V>(P::kQ[P::kTerms - 1]);
    HMM_UNROLL for (int i = P::kTerms - 2; i >= 0; --i) q = madd(q, f, splat<V>(P::kQ[i]));
    const V mantissa = madd(q, f, splat<V>(Real{1}));
    return {possible ? mantissa : V{}, exponent};
  }

  double greatest() const { return static_cast<double>(largest(greatest_)); }

 private:
  Real scale_, rest_;
  Vec<Real> greatest_{};
};

// The rows of R that the gradient starts from: the row above each strip of kStripRows rows.
template <typename Real>
struct SoftRows {
  static constexpr std::int64_t kPadding = 2 * kStripRows;
  static std::int64_t width(std::int64_t m) { return m + 2 * kPadding; }

  Real* mantissa = nullptr;
  typename Simd<Real>::Int* exponent = nullptr;
  std::int64_t stride = 0;
};

// What became of a pair.
enum class SoftOutcome { kDone, kTooLarge, kWrong };

// E where the costs stand.
template <typename Real>
struct CostGradient {
  Real* gradient;      // of the pair
  std::int64_t pitch;  // columns

  StripRows<Real> strip(const Strip& strip) const {
    return {gradient + strip.first * pitch, pitch, -kStripRows * pitch};
  }
  // Fills with zeros what was not stored, before step `from` and outside the band.
  void add(const Strip& strip, const StripRows<const Real>&, std::int64_t from) const {
    for (std::int64_t k = 0; k < strip.rows; ++k) {
      Real* const row = gradient + (strip.first + k) * pitch;
      const std::int64_t end = strip.end[k];
      std::int64_t begin = strip.begin[k] > from - k ? strip.begin[k] : from - k;
      if (begin > end) begin = end;
      for (std::int64_t j = 0; j < begin; ++j) row[j] = 0;
      for (std::int64_t j = end; j < pitch; ++j) row[j] = 0;
    }
  }
};

// Aligns one pair after another, keeping its buffers. Costs are In; arithmetic is in Real.
template <typename Real, typename In>
class SoftWarper {
 public:
  using Int = typename Simd<Real>::Int;

  // Puts -gamma log R[n-1, m-1] into `value`. kTooLarge: the exponents might not hold the numbers. Keeps the
  // last row of each strip in `rows`, SoftRows<Real>::size() numbers, if it is not null.
  SoftOutcome forward(const Pair<In>& pair, double gamma, SoftRows<Real>* rows, double* value) {
    const std::int64_t count = pair.strips();
    SoftRows<Real> own;
    if (rows == nullptr) {
      // One row after another in the same place.
      own.stride = 0;
      own.mantissa = mantissa_.reserve(SoftRows<Real>::width(pair.m));
      own.exponent = exponent_.reserve(SoftRows<Real>::width(pair.m));
      rows = &own;
    }
    const std::int64_t numbers =
        rows->stride == 0 ? SoftRows<Real>::width(pair.m) : (count + 1) * rows->stride;
    for (std::int64_t j = 0; j < numbers; ++j) rows->mantissa[j] = 0;
    for (std::int64_t j = 0; j < numbers; ++j) rows->exponent[j] = Format<Real>::kZeroExponent;
    rows_ = *rows;
    Watch<Real> watch;
    Weigher<Real> weigh(gamma);
    Last last{};
    for (std::int64_t index = 0; index < count; ++index) {
      pair.template open<Real>(index, strip_);
      strip<false>(pair, index, watch, weigh, last);
    }
    if (watch.wrong()) return SoftOutcome::kWrong;
    const double most = weigh.greatest();
    if (!(most < static_cast<double>(PowerOfTwo<Real>::kMost) &&
          most * static_cast<double>(pair.n + pair.m) < kMostExponent))
      return SoftOutcome::kTooLarge;
    const std::int64_t k = strip_.rows - 1;
    const std::int64_t at = k / kCount * kCount + kCount - 1 - k % kCount;
    if (strip_.stop == strip_.start || strip_.end[k] < pair.m || last.m[at] == 0) {
      *value = std::numeric_limits<double>::infinity();
    } else {
      constexpr double kLn2 = 0.69314718055994530942;
      *value = -gamma * (std::log(static_cast<double>(last.m[at])) + static_cast<double>(last.e[at]) * kLn2);
    }
    return SoftOutcome::kDone;
  }

  // After forward(...) of a pair that has a path, with the rows that it kept: gives factor * E, within the
  // band, to a CostGradient or a FrameGradient.
  template <typename Gradient>
  void backward(const Pair<In>& pair, double gamma, const SoftRows<Real>& rows, In factor,
                Gradient& gradient) {
    rows_ = rows;
    const std::int64_t width = SoftRows<Real>::width(pair.m);
    flow_.reserve(width);
    for (std::int64_t j = 0; j < width; ++j) flow_[j] = 0;
    Watch<Real> watch;
    Weigher<Real> weigh(gamma);
    Last last{};
    const std::int64_t count = pair.strips();
    std::int64_t reach = pair.m;
    for (std::int64_t index = count - 1; index >= 0; --index) {
      pair.template open<Real>(index, strip_, 0, reach);
      share_.reserve(strip_.steps() * kVectors * 3 * kCount);
      const StripRows<const In> costs = strip<true>(pair, index, watch, weigh, last);
      const std::int64_t from =
          strip_back(index == count - 1, static_cast<Real>(factor), gradient.strip(strip_));
      gradient.add(strip_, costs, from);
      while (reach > 0 && flow_[kPadding + reach - 1] == 0) --reach;
    }
  }

 private:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  static constexpr std::int64_t kCount = kLanes<Real>;
  static constexpr int kVectors = kStripVectors<Real>;
  using F = Format<Real>;
  static constexpr std::int64_t kPadding = SoftRows<Real>::kPadding;
  // Exponents below a quarter of the lowest one neither saturate nor overflow when three of them meet.
  static constexpr double kMostExponent = -static_cast<double>(Format<Real>::kLowestExponent) / 4;
  struct Last {
    alignas(64) Real m[kStripRows];
    alignas(64) Int e[kStripRows];
  };

  // 2^(biased - bias), 0 where biased <= 0.
  static HMM_INLINE V shifted(I biased) { return bits<V>(max(biased, I{}) << F::kMantissaBits); }

  // Runs one strip, from the row above it to its last row, and returns its costs. kShares: for the gradient,
  // keeps the shares and not the row.
  template <bool kShares>
  StripRows<const In> strip(const Pair<In>& pair, std::int64_t index, Watch<Real>& watch,
                            Weigher<Real>& weigher, Last& last) {
    const Real* above_m = rows_.mantissa + index * rows_.stride + kPadding;
    const Int* above_e = rows_.exponent + index * rows_.stride + kPadding;
    Real* below_m = rows_.mantissa + (index + 1) * rows_.stride + kPadding;
    Int* below_e = rows_.exponent + (index + 1) * rows_.stride + kPadding;
    const StripRows<const In> costs = pair.costs(strip_, kShares ? -1 : 1);
    Extended<Real> current[kVectors], diagonal[kVectors];
    for (int v = 0; v < kVectors; ++v) current[v] = diagonal[v] = zero<Real>();
    if (index > 0) {
      diagonal[0].m[kCount - 1] = above_m[strip_.start - 1];
      diagonal[0].e[kCount - 1] = above_e[strip_.start - 1];
    } else if (strip_.start == 0) {
      diagonal[0].m[kCount - 1] = 1;
      diagonal[0].e[kCount - 1] = 0;
    }
    Real* share = share_.data();
    Weigher<Real> weigh = weigher;  // a copy, which can live in registers
    // Weights of this block of steps and, while it runs, of the next: the two have nothing to wait for in
    // each other.
    V mantissa[2][kVectors][kCount];
    I exponent[2][kVectors][kCount];
    for (int v = 0; v < kVectors; ++v) {
      load_skewed(costs, strip_, v, strip_.start, watch, mantissa[0][v]);
      for (std::int64_t s = 0; s < kCount; ++s) {
        const Extended<Real> weight = weigh(mantissa[0][v][s]);
        mantissa[0][v][s] = weight.m;
        exponent[0][v][s] = weight.e;
      }
    }
    int now = 0;
    for (std::int64_t t = strip_.start; t < strip_.stop; t += kCount, now = 1 - now) {
      const int next = 1 - now;
      if (t + kCount < strip_.stop) {
        for (int v = 0; v < kVectors; ++v)
          load_skewed(costs, strip_, v, t + kCount, watch, mantissa[next][v]);
      } else {
        for (int v = 0; v < kVectors; ++v) {
          for (std::int64_t s = 0; s < kCount; ++s) mantissa[next][v][s] = V{};
        }
      }
      const std::int64_t steps = strip_.stop - t < kCount ? strip_.stop - t : kCount;
      for (std::int64_t s = 0; s < steps; ++s) {
        Extended<Real> up[kVectors];
        up[0] = {slide_down(current[0].m, splat<V>(above_m[t + s])),
                 slide_down(current[0].e, splat_int<Real>(above_e[t + s]))};
        HMM_UNROLL for (int v = 1; v < kVectors; ++v)
            up[v] = {slide_down(current[v].m, current[v - 1].m), slide_down(current[v].e, current[v - 1].e)};
        HMM_UNROLL for (int v = 0; v < kVectors; ++v) {
          // Relative to the greatest; the bias of the exponents is taken off once.
          const I e = max(max(diagonal[v].e, current[v].e), up[v].e) - F::kBias;
          const V by_diagonal = diagonal[v].m * shifted(diagonal[v].e - e);
          const V by_left = current[v].m * shifted(current[v].e - e);
          const V by_up = up[v].m * shifted(up[v].e - e);
          const V total = (by_diagonal + by_left) + by_up;
          if (kShares) {
            const V inverse = total == 0 ? V{} : 1 / total;
            store(share, by_diagonal * inverse);
            store(share + kCount, by_left * inverse);
            store(share + 2 * kCount, by_up * inverse);
            share += 3 * kCount;
          }
          const V product = total * mantissa[now][v][s];
          const I raw = bits<I>(product);
          const auto nothing = product == 0;
          current[v] = {nothing ? V{} : bits<V>((raw & F::kMantissaMask) | F::kOne),
                        nothing ? splat_int<Real>(F::kZeroExponent)
                                : (e + exponent[now][v][s]) + (raw >> F::kMantissaBits)};
          diagonal[v] = up[v];
          const Extended<Real> weight = weigh(mantissa[next][v][s]);
          mantissa[next][v][s] = weight.m;
          exponent[next][v][s] = weight.e;
        }
        if (!kShares) {
          below_m[t + s - (kStripRows - 1)] = current[kVectors - 1].m[0];
          below_e[t + s - (kStripRows - 1)] = current[kVectors - 1].e[0];
        }
      }
    }
    weigher = weigh;
    for (int v = 0; v < kVectors; ++v) {
      store(last.m + v * kCount, current[v].m);
      store(last.e + v * kCount, current[v].e);
    }
    return costs;
  }

  // E of one strip from the shares and from what flows into its last row; leaves what flows into the row
  // above. Returns the first step that was stored: before it E is 0.
  std::int64_t strip_back(bool is_last, Real factor, const StripRows<In>& to) {
    Real* flow = flow_.data() + kPadding;
    std::int64_t inflow = strip_.begin[strip_.rows - 1];
    while (inflow < strip_.end[strip_.rows - 1] && flow[inflow] == 0) ++inflow;
    V left[kVectors], lower[kVectors], diagonal[kVectors];
    for (int v = 0; v < kVectors; ++v) left[v] = lower[v] = diagonal[v] = V{};
    if (is_last) {
      const std::int64_t k = strip_.rows - 1;
      left[k / kCount][kCount - 1 - k % kCount] = 1;
    }
    std::int64_t block = (strip_.steps() + kCount - 1) / kCount;
    V tile[kVectors][kCount];
    while (block > 0) {
      --block;
      const std::int64_t t = strip_.start + block * kCount;
      const std::int64_t steps = strip_.stop - t < kCount ? strip_.stop - t : kCount;
      for (std::int64_t s = kCount - 1; s >= steps; --s) {
        for (int v = 0; v < kVectors; ++v) tile[v][s] = V{};
      }
      for (std::int64_t s = steps - 1; s >= 0; --s) {
        const Real* share = share_.data() + (t + s - strip_.start) * kVectors * 3 * kCount;
        V from_below[kVectors];
        HMM_UNROLL for (int v = 0; v + 1 < kVectors; ++v) from_below[v] = slide_up(lower[v], lower[v + 1]);
        from_below[kVectors - 1] = slide_up(lower[kVectors - 1], splat<V>(flow[t + s - (kStripRows - 1)]));
        HMM_UNROLL for (int v = 0; v < kVectors; ++v) {
          const V expected = left[v] + from_below[v];
          tile[v][s] = expected;
          const V by_diagonal = expected * load<V>(share + v * 3 * kCount);
          left[v] = expected * load<V>(share + v * 3 * kCount + kCount);
          lower[v] = expected * load<V>(share + v * 3 * kCount + 2 * kCount) + diagonal[v];
          diagonal[v] = by_diagonal;
        }
        flow[t + s] = lower[0][kCount - 1];
      }
      for (int v = 0; v < kVectors; ++v) store_skewed(to, strip_, v, t, factor, tile[v]);
      if (t - kStripRows < inflow) {
        V rest{};
        for (int v = 0; v < kVectors; ++v) rest += left[v] + lower[v] + diagonal[v];
        if (!any(rest > 0)) break;
      }
    }
    const std::int64_t from = strip_.start + block * kCount;
    flow[from - 1] = diagonal[0][kCount - 1];
    for (std::int64_t j = strip_.start - 1; j < from - 1; ++j) flow[j] = 0;
    return from;
  }

  Buffer<Real> mantissa_;
  Buffer<Int> exponent_;
  Buffer<Real> flow_;
  Buffer<Real> share_;
  SoftRows<Real> rows_;
  Strip strip_;
};

// One pair in its own precision, or in double where the exponents of float are too small.
template <typename Real>
class AnySoftWarper {
 public:
  // +inf without a path; NaN if a cost in the band is NaN, -inf or beyond 1e14 gamma. `message` may be null.
  Real value(const Pair<Real>& pair, double gamma, Real* message, std::int64_t rows, std::int64_t columns) {
    double value = pair.n == pair.m ? 0 : std::numeric_limits<double>::infinity();
    Kind kind = kNone;
    if (pair.n > 0 && pair.m > 0) {
      SoftRows<Real> kept = rows_of(message, rows, columns);
      SoftOutcome outcome = own_.forward(pair, gamma, message == nullptr ? nullptr : &kept, &value);
      kind = kSingle;
      if constexpr (sizeof(Real) < sizeof(double)) {
        if (outcome == SoftOutcome::kTooLarge) {
          kind = kTwice;
          outcome = twice_.forward(pair, gamma, nullptr, &value);
        }
      }
      if (outcome != SoftOutcome::kDone) value = std::numeric_limits<double>::quiet_NaN();
      if (!(value < std::numeric_limits<double>::infinity())) kind = kNone;
    }
    if (message != nullptr) rows_of(message, rows, columns).exponent[0] = kind;
    return static_cast<Real>(value);
  }

  // All of the (N, M) gradient, times a factor.
  void gradient(const Pair<Real>& pair, double gamma, Real* message, std::int64_t rows, std::int64_t columns,
                Real factor, Real* to) {
    const SoftRows<Real> kept = rows_of(message, rows, columns);
    const auto kind = static_cast<Kind>(kept.exponent[0]);
    const std::int64_t n = kind == kNone ? 0 : pair.n;
    CostGradient<Real> gradient_to{to, columns};
    if (kind != kNone) spread(pair, gamma, kept, kind, factor, gradient_to);
    for (std::int64_t k = n * columns; k < rows * columns; ++k) to[k] = 0;
  }

  // The value, and its derivatives by the frames, (rows, D) and (columns, D); null: not wanted.
  Real value_and_gradient(const Warping<Real>& w, const Pair<Real>& pair, double gamma, Real* by_x,
                          Real* by_y) {
    Real* const message = message_.reserve(message_size(pair.n, pair.m));
    const Real found = value(pair, gamma, message, pair.n, pair.m);
    const SoftRows<Real> kept = rows_of(message, pair.n, pair.m);
    const auto kind = static_cast<Kind>(kept.exponent[0]);
    const std::int64_t n = kind == kNone ? 0 : pair.n;
    const std::int64_t m = kind == kNone ? 0 : pair.m;
    for (std::int64_t k = n * w.size; by_x != nullptr && k < w.rows * w.size; ++k) by_x[k] = 0;
    for (std::int64_t k = m * w.size; by_y != nullptr && k < w.columns * w.size; ++k) by_y[k] = 0;
    if (kind != kNone) {
      frames_.open(w, pair, by_x, by_y);
      spread(pair, gamma, kept, kind, Real{1}, frames_);
      frames_.close();
    }
    return found;
  }

  static std::int64_t message_size(std::int64_t rows, std::int64_t columns) {
    return 2 * ((rows + kStripRows - 1) / kStripRows + 1) * SoftRows<Real>::width(columns);
  }

 private:
  enum Kind : int { kNone, kSingle, kTwice };

  // Gives factor * E to a gradient.
  template <typename Gradient>
  void spread(const Pair<Real>& pair, double gamma, const SoftRows<Real>& kept, Kind kind, Real factor,
              Gradient& gradient) {
    if (kind == kSingle) own_.backward(pair, gamma, kept, factor, gradient);
    if constexpr (sizeof(Real) < sizeof(double)) {
      if (kind == kTwice) {
        double value = 0;
        SoftRows<double> again;
        again.stride = SoftRows<double>::width(pair.m);
        again.mantissa = mantissa_.reserve((pair.strips() + 1) * again.stride);
        again.exponent = exponent_.reserve((pair.strips() + 1) * again.stride);
        twice_.forward(pair, gamma, &again, &value);
        twice_.backward(pair, gamma, again, factor, gradient);
      }
    }
  }

  // The exponents stand after the mantissas, the kind in the padding of the first row.
  static SoftRows<Real> rows_of(Real* message, std::int64_t rows, std::int64_t columns) {
    using Int = typename Simd<Real>::Int;
    return {message, reinterpret_cast<Int*>(message + message_size(rows, columns) / 2),
            SoftRows<Real>::width(columns)};
  }

  SoftWarper<Real, Real> own_;
  SoftWarper<double, Real> twice_;
  FrameGradient<Real> frames_;
  Buffer<Real> message_;
  Buffer<double> mantissa_;
  Buffer<std::int64_t> exponent_;
};

// About how many nanoseconds the values take.
template <typename Real>
double soft_dtw_work(const Warping<Real>& w) {
  return static_cast<double>(w.batch) * static_cast<double>(w.rows) * static_cast<double>(w.columns) *
         static_cast<double>(w.size + 32) / 32;
}

}  // namespace detail

// Numbers for each pair that soft_dtw keeps for soft_dtw_backward.
template <typename Real>
std::int64_t soft_dtw_message_size(std::int64_t rows, std::int64_t columns) {
  return detail::AnySoftWarper<Real>::message_size(rows, columns);
}

// Values (B,); `message` (B, soft_dtw_message_size) may be null.
template <typename Real>
void soft_dtw(const Warping<Real>& w, double gamma, const Executor& executor, Real* value, Real* message) {
  const int threads = useful_threads(executor, w.batch, detail::soft_dtw_work(w));
  const std::int64_t size = soft_dtw_message_size<Real>(w.rows, w.columns);
  PerWorker<detail::FrameCosts<Real>> frames(threads);
  PerWorker<detail::AnySoftWarper<Real>> warpers(threads);
  parallel_for(executor, w.batch, threads, [&](std::int64_t b, int worker) {
    value[b] = warpers[worker].value(detail::Pair<Real>(w, b, frames[worker]), gamma,
                                     message == nullptr ? nullptr : message + b * size, w.rows, w.columns);
  });
}

// Gradient (B, N, M) of sum_b factor[b] value[b] by the costs: 0 outside the band, in padding and without a
// path.
template <typename Real>
void soft_dtw_backward(const Warping<Real>& w, double gamma, const Executor& executor, const Real* factor,
                       Real* message, Real* gradient) {
  const std::int64_t cells = w.rows * w.columns;
  const int threads = useful_threads(executor, w.batch, 2 * detail::soft_dtw_work(w));
  const std::int64_t size = soft_dtw_message_size<Real>(w.rows, w.columns);
  PerWorker<detail::FrameCosts<Real>> frames(threads);
  PerWorker<detail::AnySoftWarper<Real>> warpers(threads);
  parallel_for(executor, w.batch, threads, [&](std::int64_t b, int worker) {
    warpers[worker].gradient(detail::Pair<Real>(w, b, frames[worker]), gamma, message + b * size, w.rows,
                             w.columns, factor[b], gradient + b * cells);
  });
}

// Values (B,) of frames, and the derivative of each by its frames, (B, N, D) and (B, M, D): 0 in padding and
// without a path. A null derivative is not computed.
template <typename Real>
void soft_dtw_frames(const Warping<Real>& w, double gamma, const Executor& executor, Real* value, Real* by_x,
                     Real* by_y) {
  if (by_x == nullptr && by_y == nullptr) {
    soft_dtw(w, gamma, executor, value, static_cast<Real*>(nullptr));
    return;
  }
  const int threads = useful_threads(executor, w.batch, 3 * detail::soft_dtw_work(w));
  PerWorker<detail::FrameCosts<Real>> frames(threads);
  PerWorker<detail::AnySoftWarper<Real>> warpers(threads);
  parallel_for(executor, w.batch, threads, [&](std::int64_t b, int worker) {
    value[b] = warpers[worker].value_and_gradient(w, detail::Pair<Real>(w, b, frames[worker], true), gamma,
                                                  by_x == nullptr ? nullptr : by_x + b * w.rows * w.size,
                                                  by_y == nullptr ? nullptr : by_y + b * w.columns * w.size);
  });
}

HMM_END_TARGET
