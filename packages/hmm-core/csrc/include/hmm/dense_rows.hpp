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

// A vector of numbers, 0 in lanes that are not states.
template <typename Real>
struct Numbers {
  const Real* mantissa;
  const IntOf<Real>* exponent;  // null: all 0
  std::int64_t states;

  HMM_INLINE Extended<Real> at(std::int64_t j) const {
    const std::int64_t n = lanes_from<Real>(j, states);
    IntVec<Real> e{};
    if (exponent != nullptr) e = load_first<IntVec<Real>>(exponent + j, n, IntOf<Real>{});
    return extend<Real>(load_first<Vec<Real>>(mantissa + j, n, Real{}), e);
  }
};

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

template <typename Real>
class Rows {
 public:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr std::int64_t kLane = kLanes<Real>;

  void open(std::int64_t rows, std::int64_t states) {
    states_ = states;
    pitch_ = padded<Real>(states);
    if (pitch_ % 256 == 0) pitch_ += kLane;  // rows in different sets of the cache
    near_.reserve(rows * pitch_);
    sum_.reserve(rows * pitch_);
    mantissa_.reserve(rows * pitch_);
    exponent_.reserve(rows * pitch_);
    sum_exponent_.reserve(rows * pitch_);
    row_.reserve(rows);
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
    multiply(table, near(first), sums(first), pitch_, rows);
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
    switch (width() / kLane) {
      case 1:
        return emit_short<1>(rows, table);
      case 2:
        return emit_short<2>(rows, table);
      case 3:
        return emit_short<3>(rows, table);
      case 4:
        return emit_short<4>(rows, table);
      default:
        for (std::int64_t r = 0; r < rows; ++r) emit_long(r, sum_exponents(r, table));
    }
  }

  // Writes a row's message; it is wide if the flag is not 0. restore() takes it back.
  void save(std::int64_t r, Real* mantissa, Int* exponent, Int* flag, bool fill) const {
    const Row& row = row_[r];
    const Real* from = row.wide ? mantissa_.data() + r * pitch_ : near(r);
    for (std::int64_t j = 0; j < states_; j += kLane)
      store_first(mantissa + j, load<V>(from + j), lanes_from<Real>(j, states_));
    if (row.wide) {
      const Int* e = exponent_.data() + r * pitch_;
      for (std::int64_t j = 0; j < states_; j += kLane)
        store_first(exponent + j, load<I>(e + j) - kWideOffset, lanes_from<Real>(j, states_));
    } else if (fill) {
      for (std::int64_t j = 0; j < states_; j += kLane)
        store_first(exponent + j, I{}, lanes_from<Real>(j, states_));
    }
    if (!fill) *flag = row.wide ? 1 : 0;
  }
  void restore(std::int64_t r, const Real* mantissa, const Int* exponent, Int flag) {
    Row& row = row_[r];
    row.wide = flag != 0;
    for (std::int64_t j = 0; j < pitch_; j += kLane) {
      const std::int64_t n = j < states_ ? lanes_from<Real>(j, states_) : 0;
      const V m = load_first<V>(mantissa + j, n, Real{});
      if (row.wide) {
        const I e = load_first<I>(exponent + j, n, Int{}) + kWideOffset;
        store(mantissa_.data() + r * pitch_ + j, m);
        store(exponent_.data() + r * pitch_ + j, e);
        store(near(r) + j, m * power_of_two<Real>(e));
      } else {
        store(near(r) + j, m);
      }
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

  // Keeps the exponents of wide frames away from 0.
  static constexpr Int kWideOffset = 1 << 20;

 private:
  struct Row {
    const Real* log_emission;
    std::int64_t base;   // messages and sums are relative to 2^base
    bool wide;           // the message is in mantissa_ and exponent_, too
    bool own_exponents;  // the sums' exponents are in sum_exponent_
  };

  Int* sum_exponents(std::int64_t r) { return sum_exponent_.data() + r * pitch_; }

  static constexpr Int kLow = Format<Real>::kZeroExponent * 2;

  // Sum times emission, in loose extended numbers, and the exponent of its normalised form.
  static HMM_INLINE Extended<Real> product(const Real* sum, const Int* exponent, V log_emission, I* place) {
    const Extended<Real> p = exp_loose(log_emission);
    const V m = load<V>(sum) * p.m;
    const I e = m == 0 ? splat_int<Real>(kLow) : load<I>(exponent) + p.e;
    *place = e + (bits<I>(m) >> Format<Real>::kMantissaBits);
    return {m, e};
  }

  // The largest number of the frame becomes one in [1, 2).
  static HMM_INLINE Int frame_exponent(I place) {
    const Int most = largest(place);
    return most == kLow ? 0 : most - static_cast<Int>(Format<Real>::kBias);
  }

  template <int kVectors>
  void emit_short(std::int64_t rows, const Table<Real>* table) {
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    const std::int64_t last = states_ - (kVectors - 1) * kLane;
    for (std::int64_t r = 0; r < rows; ++r) {
      Row& row = row_[r];
      const Int* exponent = sum_exponents(r, table);
      const Real* sum = sums(r);
      Real* to = near(r);
      Extended<Real> x[kVectors];
      I most = splat_int<Real>(kLow);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const Real* from = row.log_emission + v * kLane;
        const V emission = v + 1 < kVectors ? load<V>(from) : load_first<V>(from, last, kNothing);
        I place;
        x[v] = product(sum + v * kLane, exponent + v * kLane, emission, &place);
        most = max(most, place);
      }
      const Int shift = frame_exponent(most);
      I wide{};
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        x[v].e = x[v].e - shift;
        const V value = x[v].m * power_of_two<Real>(x[v].e);
        wide |= (value < kWideBound) & (x[v].m != 0);
        store(to + v * kLane, value);
      }
      row.base += shift;
      row.wide = any(wide);
      if (row.wide) {
        for (int v = 0; v < kVectors; ++v) {
          store(mantissa_.data() + r * pitch_ + v * kLane, x[v].m);
          store(exponent_.data() + r * pitch_ + v * kLane, x[v].e);
        }
      }
    }
  }

  void emit_long(std::int64_t r, const Int* exponent) {
    const Real* log_emission = row_[r].log_emission;
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    Real* mantissas = mantissa_.data() + r * pitch_;
    Int* exponents = exponent_.data() + r * pitch_;
    const Real* sum = sums(r);
    I most = splat_int<Real>(kLow);
    std::int64_t j = 0;
    const auto multiply_one = [&](V emission) __attribute__((always_inline)) {
      I place;
      const Extended<Real> x = product(sum + j, exponent + j, emission, &place);
      most = max(most, place);
      store(mantissas + j, x.m);
      store(exponents + j, x.e);
    };
    for (; j + kLane <= states_; j += kLane) multiply_one(load<V>(log_emission + j));
    if (j < states_) multiply_one(load_first<V>(log_emission + j, states_ - j, kNothing));
    const Int shift = frame_exponent(most);
    I wide{};
    Real* to = near(r);
    for (j = 0; j < states_; j += kLane) {
      const V m = load<V>(mantissas + j);
      const I e = load<I>(exponents + j) - shift;
      const V near_value = m * power_of_two<Real>(e);
      wide |= (near_value < kWideBound) & (m != 0);
      store(exponents + j, e);
      store(to + j, near_value);
    }
    row_[r].wide = any(wide);
    row_[r].base += shift;
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
    const Int e = from.exponent == nullptr ? 0 : from.exponent[i];
    const Extended<Real> source = extend<Real>(splat<V>(from.mantissa[i]), splat_int<Real>(e));
    return normalized(source * exp_extended(table.log_weight(i, first, count)));
  }

  static constexpr Real kWideBound = Limits<Real>::kWideBound;

  std::int64_t states_ = 0;
  std::int64_t pitch_ = 0;
  Buffer<Real> near_, sum_, mantissa_, emission_;
  Buffer<Int> exponent_, sum_exponent_;
  Buffer<Row> row_;
};

}  // namespace dense

HMM_END_TARGET
