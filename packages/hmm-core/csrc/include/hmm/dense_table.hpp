// A matrix of transitions as ordinary numbers, laid out for the product that is one frame of a recursion.
#pragma once

#include <cstdint>

#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"

HMM_BEGIN_TARGET

namespace dense {

// Where ordinary numbers may stand for extended ones.
template <typename Real>
struct Limits;

template <>
struct Limits<float> {
  // A frame or a table whose numbers all lie above this, relative to the largest, loses nothing in a product.
  static constexpr int kWide = -60;
  // In a frame or a table that is wider, a sum below this may have lost something.
  static constexpr float kLost = 1e-25f;
  // Least sum of forward times backward messages, each relative to its largest, that has lost nothing.
  static constexpr float kLeastSum = 9.094947e-13f;  // 2^-40
};

template <>
struct Limits<double> {
  static constexpr int kWide = -480;
  static constexpr double kLost = 1e-275;
  static constexpr double kLeastSum = 3.8725919148493183e-121;  // 2^-400
};

template <typename Real>
using IntOf = typename Simd<Real>::Int;

// Vectors of columns and rows that the product keeps in registers.
#if HMM_VECTOR_BYTES == 64
constexpr int kPanel = 3;
constexpr int kTile = 8;
#elif HMM_VECTOR_BYTES == 32
constexpr int kPanel = 3;
constexpr int kTile = 4;
#else
constexpr int kPanel = 2;
constexpr int kTile = 4;
#endif

// Panels of a table of that many states.
template <typename Real>
constexpr std::int64_t panels_of(std::int64_t states) {
  return (padded<Real>(states) + kPanel * kLanes<Real> - 1) / (kPanel * kLanes<Real>);
}

// From n inputs to n outputs: output o = 2^exponent[o] * sum over inputs i of x(i, o) * input i.
//
// x lies in panels of kPanel vectors of outputs, input after input.
template <typename Real>
class Table {
 public:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr std::int64_t kLane = kLanes<Real>;

  // Reads log_weight (states, states) [from, to]: to outputs "to", or, transposed, to outputs "from".
  // share(n, body) calls body(panel) for all n panels, in any order.
  template <typename Share>
  void build(const Real* log_weight, std::int64_t states, bool transposed, Share&& share) {
    states_ = states;
    width_ = padded<Real>(states);
    log_weight_ = log_weight;
    input_stride_ = transposed ? 1 : states;
    output_stride_ = transposed ? states : 1;
    x_.reserve(states * width_);
    exponent_.reserve(width_);
    relative_.reserve(width_);
    wide_panel_.reserve(panels());
    share(panels(), [&](std::int64_t panel) {
      const std::int64_t first = panel * kPanel * kLane;
      const std::int64_t end = first + panel_width(first);
      wide_panel_[panel] = transposed ? fill_rows(first, end) : fill_columns(first, end);
    });
    wide_ = false;
    for (std::int64_t panel = 0; panel < panels(); ++panel) wide_ = wide_ || wide_panel_[panel];
    finish_exponents();
  }

  std::int64_t states() const { return states_; }
  std::int64_t width() const { return width_; }
  std::int64_t panels() const { return panels_of<Real>(states_); }
  // Outputs of one input within a panel that begins with output `first`.
  std::int64_t panel_width(std::int64_t first) const {
    const std::int64_t rest = width_ - first;
    return rest < kPanel * kLane ? rest : kPanel * kLane;
  }
  const Real* panel(std::int64_t first) const { return x_.data() + first * states_; }
  const Int* exponent() const { return exponent_.data(); }
  // 2^(exponent[o] - largest_exponent()).
  const Real* relative() const { return relative_.data(); }
  Int largest_exponent() const { return largest_; }
  // Whether an arc is so much smaller than the largest into the same output that it may be lost.
  bool wide() const { return wide_; }

  // log_weight from an input to the outputs from `first` on, `count` of them; -inf in the lanes after these.
  V log_weight(std::int64_t input, std::int64_t first, std::int64_t count) const {
    const Real* from = log_weight_ + input * input_stride_ + first * output_stride_;
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    if (output_stride_ == 1) return load_first<V>(from, count, kNothing);
    V v = splat<V>(kNothing);
    for (std::int64_t l = 0; l < count; ++l) v[l] = from[l * output_stride_];
    return v;
  }

 private:
  static constexpr Int kNone = Format<Real>::kZeroExponent;

  Real* address(std::int64_t input, std::int64_t output) {
    const std::int64_t first = output / (kPanel * kLane) * (kPanel * kLane);
    return x_.data() + first * states_ + input * panel_width(first) + (output - first);
  }

  // Outputs first..end-1; true if an arc into them may be lost. Lanes are outputs.
  bool fill_columns(std::int64_t first, std::int64_t end) {
    bool wide = false;
    for (std::int64_t o = first; o < end; o += kLane) {
      const std::int64_t count = states_ - o < kLane ? states_ - o : kLane;
      I largest = splat_int<Real>(kNone);
      for (std::int64_t i = 0; i < states_; ++i)
        largest = max(largest, exp_extended(log_weight(i, o, count)).e);
      store(exponent_.data() + o, largest);
      I small{};
      for (std::int64_t i = 0; i < states_; ++i) {
        const Extended<Real> x = exp_extended(log_weight(i, o, count));
        small |= (x.m != 0) & (x.e - largest < Limits<Real>::kWide);
        store(address(i, o), relative_to<Real>(x, largest));
      }
      wide = wide || any(small);
    }
    return wide;
  }

  // The same, lanes are inputs: the rows of log_weight, read in order.
  bool fill_rows(std::int64_t first, std::int64_t end) {
    const std::int64_t inside = end < states_ ? end : states_;
    bool wide = false;
    for (std::int64_t o = first; o < inside; ++o) {
      const Real* row = log_weight_ + o * states_;
      I most = splat_int<Real>(kNone);
      for (std::int64_t i = 0; i < states_; i += kLane) most = max(most, exp_extended(inputs(row, i)).e);
      const I exponent = splat_int<Real>(largest(most));
      exponent_[o] = exponent[0];
      I small{};
      for (std::int64_t i = 0; i < states_; i += kLane) {
        const Extended<Real> x = exp_extended(inputs(row, i));
        small |= (x.m != 0) & (x.e - exponent < Limits<Real>::kWide);
        const V value = relative_to<Real>(x, exponent);
        const std::int64_t count = states_ - i < kLane ? states_ - i : kLane;
        for (std::int64_t l = 0; l < count; ++l) *address(i + l, o) = value[l];
      }
      wide = wide || any(small);
    }
    for (std::int64_t o = inside; o < end; ++o) {
      exponent_[o] = kNone;
      for (std::int64_t i = 0; i < states_; ++i) *address(i, o) = 0;
    }
    return wide;
  }

  V inputs(const Real* row, std::int64_t i) const {
    return load_first<V>(row + i, states_ - i < kLane ? states_ - i : kLane,
                         -std::numeric_limits<Real>::infinity());
  }

  // Outputs that no arc enters take part in no comparison of exponents.
  void finish_exponents() {
    I most = splat_int<Real>(kNone);
    for (std::int64_t o = 0; o < width_; o += kLane) most = max(most, load<I>(exponent_.data() + o));
    largest_ = largest(most);
    if (largest_ == kNone) largest_ = 0;
    for (std::int64_t o = 0; o < width_; o += kLane) {
      I e = load<I>(exponent_.data() + o);
      e = e == kNone ? splat_int<Real>(largest_) : e;
      store(exponent_.data() + o, e);
      store(relative_.data() + o, power_of_two<Real>(e - largest_));
    }
  }

  std::int64_t states_ = 0;
  std::int64_t width_ = 0;
  const Real* log_weight_ = nullptr;
  std::int64_t input_stride_ = 0;
  std::int64_t output_stride_ = 0;
  Buffer<Real> x_, relative_;
  Buffer<Int> exponent_;
  Buffer<bool> wide_panel_;
  Int largest_ = 0;
  bool wide_ = false;
};

}  // namespace dense

HMM_END_TARGET
