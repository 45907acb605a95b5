// The messages of a few sequences in one frame, and how they advance by a frame with dense transitions.
//
// A message is kept as ordinary numbers relative to the largest of the frame, `near`. Where one of them is so
// small that a product might lose it, the frame is called wide, and the message is kept in extended numbers
// as well.
//
// Forward and backward are the same recursion: messages times transitions, then times emission. Backward
// messages here include the emission of their own frame, and the transitions are transposed.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/dense_product.hpp"
#include "hmm/dense_table.hpp"

HMM_BEGIN_TARGET

namespace dense {

constexpr double kLn2 = 0.69314718055994530942;

// Lanes of the vector that begins with state j.
template <typename Real>
HMM_INLINE std::int64_t lanes_from(std::int64_t j, std::int64_t states) {
  const std::int64_t rest = states - j;
  return rest < kLanes<Real> ? rest : kLanes<Real>;
}

// A vector of numbers, 0 in lanes that are not states. The signs of mantissas that have exponents mean
// nothing.
template <typename Real>
struct Numbers {
  const Real* mantissa;
  const IntOf<Real>* exponent;  // null: all 0
  std::int64_t states;

  HMM_INLINE Extended<Real> at(std::int64_t j) const {
    const std::int64_t n = lanes_from<Real>(j, states);
    Vec<Real> m = load_first<Vec<Real>>(mantissa + j, n, Real{});
    if (exponent == nullptr) return extend<Real>(m, IntVec<Real>{});
    m = max(m, -m);
    return extend<Real>(m, load_first<IntVec<Real>>(exponent + j, n, IntOf<Real>{}));
  }
  // One of them, in all lanes.
  HMM_INLINE Extended<Real> each(std::int64_t i) const {
    const Real m = mantissa[i] < 0 ? -mantissa[i] : mantissa[i];
    return extend<Real>(splat<Vec<Real>>(m), splat_int<Real>(exponent == nullptr ? 0 : exponent[i]));
  }
};

// A message in memory: the first mantissa is negative, or -0, if the message is wide and has exponents.
template <typename Real>
HMM_INLINE bool has_exponents(const Real* mantissa) {
  return __builtin_signbit(mantissa[0]) != 0;
}

// Products of two vectors of numbers, state by state, relative to the largest: fills `product` (padded) and
// returns their sum in `sum` and the exponent of the largest; 0 and 0 where all are 0.
template <typename Real>
IntOf<Real> exact_products(Numbers<Real> a, Numbers<Real> b, Real* product, Real* sum) {
  using V = Vec<Real>;
  using I = IntVec<Real>;
  I most = splat_int<Real>(Format<Real>::kZeroExponent);
  for (std::int64_t j = 0; j < a.states; j += kLanes<Real>) most = max(most, normalized(a.at(j) * b.at(j)).e);
  const IntOf<Real> exponent = largest(most);
  V total{};
  const bool none = exponent == Format<Real>::kZeroExponent;
  for (std::int64_t j = 0; j < a.states; j += kLanes<Real>) {
    const V value = none ? V{} : relative_to<Real>(normalized(a.at(j) * b.at(j)), splat_int<Real>(exponent));
    store(product + j, value);
    total = total + value;
  }
  *sum = hmm::sum(total);
  return none ? 0 : exponent;
}

// How far the numbers of a frame lie apart, lane by lane.
template <typename Real>
struct Spread {
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr Int kLow = Format<Real>::kZeroExponent * 2;

  // Exponents of the largest and the smallest number but 0, kBias higher.
  I most = splat_int<Real>(kLow);
  I least = splat_int<Real>(-kLow);
  I unusual{};  // of exp_usual()

  // The product of two numbers, of which the first may be 0, taken into account.
  HMM_INLINE Extended<Real> product(Extended<Real> sum, Extended<Real> emission) {
    const V m = sum.m * emission.m;
    const auto nothing = m == 0;
    const I e = nothing ? splat_int<Real>(kLow) : sum.e + emission.e;
    const I place = e + (bits<I>(m) >> Format<Real>::kMantissaBits);
    most = max(most, place);
    least = min(least, nothing ? splat_int<Real>(-kLow) : place);
    return {m, e};
  }

  // Subtracted from the exponents of one lane, or of all, this makes the largest one in [1, 2).
  HMM_INLINE I shifts() const { return most == kLow ? I{} : most - static_cast<Int>(Format<Real>::kBias); }
  HMM_INLINE Int shift() const {
    const Int top = largest(most);
    return top == kLow ? 0 : top - static_cast<Int>(Format<Real>::kBias);
  }
  // Where a number is so small relative to the largest of its lane, or of all, that a product might lose it.
  HMM_INLINE I wide_lanes() const { return least - most < Limits<Real>::kWide; }
  HMM_INLINE I wide() const { return least - largest(most) < Limits<Real>::kWide; }
};

// What run(exponential) returns, a Spread; `exponential(x, spread)` is exp(x).
template <typename Real, typename Run>
HMM_INLINE Spread<Real> spread_of(Run&& run) {
  const Spread<Real> spread = run([](Vec<Real> x, Spread<Real>* all)
                                      __attribute__((always_inline)) { return exp_usual(x, &all->unusual); });
  if (!any_unusual<Real>(spread.unusual)) return spread;
  return run([](Vec<Real> x, Spread<Real>*) __attribute__((always_inline)) { return exp_loose(x); });
}

template <typename Real>
class Rows {
 public:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr std::int64_t kLane = kLanes<Real>;

  void open(std::int64_t rows, std::int64_t states, Team& team) {
    team_ = &team;
    states_ = states;
    pitch_ = padded<Real>(states);
    if (pitch_ % 256 == 0) pitch_ += kLane;  // rows in different sets of the cache
    near_.reserve(rows * pitch_);
    sum_.reserve(rows * pitch_);
    mantissa_.reserve(rows * pitch_);
    exponent_.reserve(rows * pitch_);
    sum_exponent_.reserve(rows * pitch_);
    row_.reserve(rows);
    spread_.reserve(rows);
    emission_.reserve(rows * pitch_);
  }

  // The sums of a row become exp(log_weight): the first frame of a recursion.
  void start(std::int64_t r, const Real* log_weight) {
    for (std::int64_t j = 0; j < states_; j += kLane) {
      const Extended<Real> x = exp_extended(load_first<V>(log_weight + j, lanes_from<Real>(j, states_),
                                                          -std::numeric_limits<Real>::infinity()));
      store(sums(r) + j, x.m);
      store(sum_exponents(r) + j, x.e);
    }
    row_[r].own_exponents = true;
    row_[r].base = 0;
  }

  // The sums of rows first .. first + rows - 1 become their messages times the table.
  void advance(const Table<Real>& table, std::int64_t first, std::int64_t rows) {
    multiply(table, near(first), sums(first), pitch_, rows, *team_);
    for (std::int64_t r = first; r < first + rows; ++r) {
      row_[r].own_exponents = false;
      if (row_[r].wide || table.wide()) repair(table, r);
    }
  }

  // What the states of a row emit in the frame that comes next; frames follow in `direction` 1 or -1.
  void read(std::int64_t r, const Real* log_emission, const std::int64_t* emission_index,
            std::int64_t direction) {
    if (emission_index == nullptr) fetch_ahead(log_emission, states_, direction);
    if (emission_index != nullptr) {
      Real* by_state = emission_.data() + r * pitch_;
      for (std::int64_t j = 0; j < states_; ++j) by_state[j] = log_emission[emission_index[j]];
      log_emission = by_state;
    }
    row_[r].log_emission = log_emission;
  }

  // The messages of rows 0 .. rows - 1 become their sums times what they have read. `table` is that of the
  // last advance().
  void emit(std::int64_t rows, const Table<Real>* table) {
    // One after the other for all rows: the largest of a row takes its time.
    for (std::int64_t r = 0; r < rows; ++r) spread_[r] = multiply_emission(r, sum_exponents(r, table));
    for (std::int64_t r = 0; r < rows; ++r) settle(r, spread_[r]);
  }

  // Writes a row's message, with exponents only if it is wide. restore() takes it back.
  void save(std::int64_t r, Real* mantissa, Int* exponent) const {
    const bool wide = row_[r].wide;
    const Real* from = wide ? mantissa_.data() + r * pitch_ : near(r);
    for (std::int64_t j = 0; j < states_; j += kLane)
      store_first(mantissa + j, load<V>(from + j), lanes_from<Real>(j, states_));
    if (!wide) return;
    mantissa[0] = -mantissa[0];
    const Int* e = exponent_.data() + r * pitch_;
    for (std::int64_t j = 0; j < states_; j += kLane)
      store_first(exponent + j, load<I>(e + j), lanes_from<Real>(j, states_));
  }
  void restore(std::int64_t r, const Real* mantissa, const Int* exponent) {
    Row& row = row_[r];
    row.wide = has_exponents(mantissa);
    for (std::int64_t j = 0; j < pitch_; j += kLane) {
      const std::int64_t n = j < states_ ? lanes_from<Real>(j, states_) : 0;
      V m = load_first<V>(mantissa + j, n, Real{});
      if (row.wide) {
        m = max(m, -m);
        const I e = load_first<I>(exponent + j, n, Int{});
        store(mantissa_.data() + r * pitch_ + j, m);
        store(exponent_.data() + r * pitch_ + j, e);
        m = m * power_of_two<Real>(e);
      }
      store(near(r) + j, m);
    }
  }

  // The message of a row, without its base.
  Numbers<Real> message(std::int64_t r) const {
    if (row_[r].wide) return {mantissa_.data() + r * pitch_, exponent_.data() + r * pitch_, states_};
    return {near(r), nullptr, states_};
  }
  // The sums of a row, relative to the base.
  Numbers<Real> sum_numbers(std::int64_t r, const Table<Real>* table) const {
    return {sums(r), sum_exponents(r, table), states_};
  }
  const Int* sum_exponents(std::int64_t r, const Table<Real>* table) const {
    return row_[r].own_exponents ? sum_exponent_.data() + r * pitch_ : table->exponent();
  }
  bool own_exponents(std::int64_t r) const { return row_[r].own_exponents; }
  std::int64_t base(std::int64_t r) const { return row_[r].base; }
  const Real* near(std::int64_t r) const { return near_.data() + r * pitch_; }
  Real* near(std::int64_t r) { return near_.data() + r * pitch_; }
  const Real* sums(std::int64_t r) const { return sum_.data() + r * pitch_; }
  Real* sums(std::int64_t r) { return sum_.data() + r * pitch_; }
  std::int64_t pitch() const { return pitch_; }
  std::int64_t width() const { return padded<Real>(states_); }

 private:
  struct Row {
    const Real* log_emission;
    std::int64_t base;   // messages and sums are relative to 2^base
    bool wide;           // the message is in mantissa_ and exponent_, too
    bool own_exponents;  // the sums' exponents are in sum_exponent_
  };

  Int* sum_exponents(std::int64_t r) { return sum_exponent_.data() + r * pitch_; }

  // mantissa_ and exponent_ of a row become its sums times what it has read.
  HMM_INLINE Spread<Real> multiply_emission(std::int64_t r, const Int* exponent) {
    const Real* log_emission = row_[r].log_emission;
    const Real* sum = sums(r);
    Real* mantissas = mantissa_.data() + r * pitch_;
    Int* exponents = exponent_.data() + r * pitch_;
    return spread_of<Real>([&](auto exponential) __attribute__((always_inline)) {
      Spread<Real> all;
      std::int64_t j = 0;
      const auto multiply_one = [&](V emission) __attribute__((always_inline)) {
        const Extended<Real> x = all.product(extended(sum, exponent, j), exponential(emission, &all));
        store(mantissas + j, x.m);
        store(exponents + j, x.e);
      };
      for (; j + kLane <= states_; j += kLane) multiply_one(load<V>(log_emission + j));
      if (j < states_) multiply_one(load_first<V>(log_emission + j, states_ - j, Real{}));
      return all;
    });
  }

  // near_ of a row becomes that relative to its largest number.
  HMM_INLINE void settle(std::int64_t r, const Spread<Real>& spread) {
    Row& row = row_[r];
    const Real* mantissas = mantissa_.data() + r * pitch_;
    Int* exponents = exponent_.data() + r * pitch_;
    Real* to = near(r);
    const Int shift = spread.shift();
    const I shifts = splat_int<Real>(shift);
    for (std::int64_t j = 0; j < states_; j += kLane)
      store(to + j, relative_to<Real>(extended(mantissas, exponents, j), shifts));
    row.base += shift;
    row.wide = any(spread.wide());
    if (!row.wide) return;
    for (std::int64_t j = 0; j < states_; j += kLane) store(exponents + j, load<I>(exponents + j) - shifts);
  }

  static HMM_INLINE Extended<Real> extended(const Real* mantissa, const Int* exponent, std::int64_t j) {
    return {load<V>(mantissa + j), load<I>(exponent + j)};
  }

  // Computes again, in extended numbers, every sum that may have lost something.
  void repair(const Table<Real>& table, std::int64_t r) {
    const Numbers<Real> from = message(r);
    Real* sum = sums(r);
    for (std::int64_t j = 0; j < states_; j += kLane) {
      const std::int64_t n = lanes_from<Real>(j, states_);
      const V plain = load<V>(sum + j);
      const I lost = (plain < Limits<Real>::kLost) & first_lanes<V>(n);
      if (!any(lost)) continue;
      if (!row_[r].own_exponents) {
        row_[r].own_exponents = true;
        for (std::int64_t o = 0; o < states_; o += kLane)
          store(sum_exponents(r) + o, load<I>(table.exponent() + o));
      }
      const Extended<Real> exact = exact_sum(table, from, j, n);
      store(sum + j, lost ? exact.m : plain);
      store(sum_exponents(r) + j, lost ? exact.e : load<I>(table.exponent() + j));
    }
  }

  Extended<Real> exact_sum(const Table<Real>& table, Numbers<Real> from, std::int64_t first,
                           std::int64_t count) const {
    I most = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int64_t i = 0; i < states_; ++i) {
      if (from.mantissa[i] == 0) continue;
      most = max(most, term(table, from, i, first, count).e);
    }
    V total{};
    for (std::int64_t i = 0; i < states_; ++i) {
      if (from.mantissa[i] == 0) continue;
      total = total + relative_to<Real>(term(table, from, i, first, count), most);
    }
    return extend<Real>(total, most);
  }

  static Extended<Real> term(const Table<Real>& table, Numbers<Real> from, std::int64_t i, std::int64_t first,
                             std::int64_t count) {
    return normalized(from.each(i) * exp_extended(table.log_weight(i, first, count)));
  }

  Team* team_ = nullptr;
  std::int64_t states_ = 0;
  std::int64_t pitch_ = 0;
  Buffer<Real> near_, sum_, mantissa_, emission_;
  Buffer<Int> exponent_, sum_exponent_;
  Buffer<Row> row_;
  Buffer<Spread<Real>> spread_;
};

}  // namespace dense

HMM_END_TARGET
