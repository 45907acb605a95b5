// Few states: the lanes of a vector are sequences, not states, none is idle, and the largest of each is found
// without a step from lane to lane.
//
// The same arithmetic in the same order as in dense_rows.hpp and dense_smooth.hpp, so the same bits, without
// the repairs: a sequence in which a number gets so small that it might be lost is given up, and left to
// those.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/dense_pass.hpp"

HMM_BEGIN_TARGET

namespace dense {

constexpr std::int64_t kNarrow = 64;
constexpr std::int64_t kFew = 16;

// A square of numbers, rows to columns, in place.
template <typename Real>
HMM_INLINE void transpose(Vec<Real> (&v)[kLanes<Real>]) {
  using V = Vec<Real>;
  using I = IntVec<Real>;
  constexpr int kCount = static_cast<int>(kLanes<Real>);
#pragma GCC unroll 4
  for (int span = 1; span < kCount; span *= 2) {
    I low{};
    I high{};
    for (int l = 0; l < kCount; ++l) {
      const int inside = l & span;
      low[l] = inside ? l - span + kCount : l;
      high[l] = inside ? l + kCount : l + span;
    }
#pragma GCC unroll 16
    for (int r = 0; r < kCount; ++r) {
      if (r & span) continue;
      const V a = v[r];
      const V b = v[r + span];
#if defined(__clang__)
      V x{}, y{};
      for (int l = 0; l < kCount; ++l) {
        x[l] = low[l] < kCount ? a[low[l]] : b[low[l] - kCount];
        y[l] = high[l] < kCount ? a[high[l]] : b[high[l] - kCount];
      }
      v[r] = x;
      v[r + span] = y;
#else
      v[r] = __builtin_shuffle(a, b, low);
      v[r + span] = __builtin_shuffle(a, b, high);
#endif
    }
  }
}

// Whether few enough states and one plain table make this possible and, if lanes are full, faster; `kept`:
// with memory for all messages, which costs more than rows unless vectors of states have idle lanes.
template <typename Real>
bool narrow(const Model<Real>& m, const Table<Real>* table, bool kept) {
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 26;
  return table != nullptr && m.states <= kNarrow && !table->wide() && m.emission_index == nullptr &&
         m.frames < (std::int64_t{1} << 31) &&
         (!kept || (m.frames * m.states * HMM_VECTOR_BYTES <= kMostBytes &&
                    (m.states <= kFew || 8 * m.states < 7 * padded<Real>(m.states))));
}

// Whether enough lanes would be in use: a third where rows of states are short, nearly all elsewhere.
template <typename Real>
bool worth_lanes(const Model<Real>& m, const std::int64_t* sequences, std::int64_t count) {
  std::int64_t frames = 0;
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t length = m.lengths[sequences[i]];
    frames += length;
    if (length > longest) longest = length;
  }
  const std::int64_t all = kLanes<Real> * longest;
  return m.states <= kFew ? 3 * frames >= all : 8 * frames >= 7 * all;
}

// Calls body(first, count) for those of `count` sequences that were given up, at most `most` together.
template <typename Given, typename Body>
void for_runs(std::int64_t count, std::int64_t most, Given&& given_up, Body&& body) {
  for (std::int64_t begin = 0; begin < count;) {
    if (!given_up(begin)) {
      ++begin;
      continue;
    }
    std::int64_t end = begin + 1;
    while (end < count && end - begin < most && given_up(end)) ++end;
    body(begin, end - begin);
    begin = end;
  }
}

// Up to kLanes sequences, one to a lane.
template <typename Real>
class Lanes {
 public:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr std::int64_t kLane = kLanes<Real>;

  void open(const Model<Real>& m, const Table<Real>* forward, const Table<Real>* backward) {
    model_ = &m;
    forward_ = forward;
    backward_ = backward;
    states_ = m.states;
    if (backward != nullptr) kept_.reserve(m.frames * m.states * kLane);
    row_mantissa_.reserve(padded<Real>(kNarrow));
  }

  void take(const std::int64_t* sequences, std::int64_t count) {
    count_ = count;
    longest_ = 0;
    failed_ = I{};
    for (std::int64_t l = 0; l < kLane; ++l) {
      sequence_[l] = l < count ? sequences[l] : 0;
      length_[l] = l < count ? model_->lengths[sequences[l]] : 0;
      if (length_[l] > longest_) longest_ = length_[l];
      lengths_[l] = static_cast<Int>(length_[l]);
      base_[l] = 0;
    }
  }
  bool failed(std::int64_t lane) const { return failed_[lane] != 0; }
  void give_up(std::int64_t lane) { failed_[lane] = -1; }

  // Forward messages; calls ended(lane, message, base) after the last frame of each, where the message has no
  // exponents of its own, and after(t) after every frame.
  template <typename Ended, typename After>
  void forward(Ended&& ended, After&& after) {
    for (std::int64_t t = 0; t < longest_; ++t) {
      if (hopeless()) return;
      if (t == 0) {
        start(model_->log_initial, model_->initial_stride, ~I{});
        emit(t, nullptr);
      } else {
        multiply(*forward_);
        emit(t, forward_);
      }
      for (std::int64_t l = 0; l < count_; ++l) {
        if (t + 1 != length_[l] || failed(l)) continue;
        for (std::int64_t j = 0; j < states_; ++j) row_mantissa_[j] = near_[j][l];
        ended(l, Numbers<Real>{row_mantissa_.data(), nullptr, states_}, base_[l]);
      }
      after(t);
    }
  }

  // Keeps the messages of frame t in this object, for posterior().
  void keep(std::int64_t t) {
    for (std::int64_t j = 0; j < states_; ++j) store(kept_.data() + (t * states_ + j) * kLane, near_[j]);
  }

  // Writes the messages of frame t to (B, T, K).
  void save(std::int64_t t, Real* to) const { write(t, near_, splat<V>(Real{1}), to); }

  // Posteriors (B, T, K), from what keep() kept.
  void posterior(Real* state) {
    for (std::int64_t j = 0; j < states_; ++j) near_[j] = V{};
    for (std::int64_t t = longest_ - 1; t >= 0; --t) {
      if (hopeless()) return;
      const I ends = lengths_ == splat_int<Real>(static_cast<Int>(t + 1));
      const bool starts = any(ends);
      multiply(*backward_);
      if (starts) {
        for (std::int64_t j = 0; j < states_; ++j) plain_[j] = sum_[j];
        start(model_->log_final, model_->final_stride, ends);
      }
      const V factor = smooth(t, starts, ends);
      write(t, gamma_, factor, state);
      if (t > 0) emit(t, starts ? nullptr : backward_);
    }
  }

 private:
  // Sums of multiply() that are in registers together.
  static constexpr int kMostOutputs = HMM_VECTOR_BYTES == 64 ? 12 : 8;

  // exp of the log weights (B|1, K) in the lanes chosen, exponents and all; the others keep their sums, and
  // get the exponents of the backward table, the only one that lanes that have begun can have here.
  void start(const Real* log_weight, std::int64_t stride, I chosen) {
    for (std::int64_t j = 0; j < states_; ++j) {
      V value{};
      for (std::int64_t l = 0; l < count_; ++l) value[l] = log_weight[sequence_[l] * stride + j];
      const Extended<Real> x = exp_extended(value);
      sum_[j] = chosen ? x.m : sum_[j];
      exponent_[j] = chosen ? x.e : splat_int<Real>(backward_ == nullptr ? Int{} : backward_->exponent()[j]);
    }
  }

  // sum_[j] = sum over i of near_[i] * x(i, j), i ascending.
  void multiply(const Table<Real>& table) {
    std::int64_t outputs = 0;
    for (std::int64_t j = 0; j < states_; j += outputs) {
      const std::int64_t panel = j / (kPanel * kLane) * (kPanel * kLane);
      const std::int64_t pitch = table.panel_width(panel);
      const Real* x = table.panel(panel) + (j - panel);
      // As many as there are registers for, within one panel.
      const std::int64_t rest = states_ < panel + pitch ? states_ - j : panel + pitch - j;
      outputs = multiply_some<kMostOutputs>(x, pitch, j, rest);
    }
  }
  // A multiplication an input for each of `wanted` outputs or some fewer; returns how many.
  template <int kOutputs>
  std::int64_t multiply_some(const Real* x, std::int64_t pitch, std::int64_t first, std::int64_t wanted) {
    if constexpr (kOutputs > 1) {
      if (wanted < kOutputs) return multiply_some<kOutputs - 1>(x, pitch, first, wanted);
    }
    multiply_outputs<kOutputs>(x, pitch, first);
    return kOutputs;
  }
  template <int kOutputs>
  void multiply_outputs(const Real* x, std::int64_t pitch, std::int64_t first) {
    V sum[kOutputs];
#pragma GCC unroll 24
    for (int o = 0; o < kOutputs; ++o) sum[o] = V{};
    for (std::int64_t i = 0; i < states_; ++i) {
      const V factor = near_[i];
#pragma GCC unroll 24
      for (int o = 0; o < kOutputs; ++o) sum[o] = madd(factor, splat<V>(x[i * pitch + o]), sum[o]);
    }
#pragma GCC unroll 24
    for (int o = 0; o < kOutputs; ++o) sum_[first + o] = sum[o];
  }

  // near_ becomes sum_ times the emission of frame t, relative to its largest; exponents are the table's or,
  // null, exponent_.
  void emit(std::int64_t t, const Table<Real>* table) {
    const Spread<Real> spread = spread_of<Real>([&](auto exponential) __attribute__((always_inline)) {
      Spread<Real> all;
      for (std::int64_t part = 0; part < states_; part += kLane) {
        const std::int64_t n = lanes_from<Real>(part, states_);
        V emission[kLane];
        read(t, part, n, emission);
        for (std::int64_t j = 0; j < n; ++j) {
          const I own = table == nullptr ? exponent_[part + j] : splat_int<Real>(table->exponent()[part + j]);
          const Extended<Real> x = all.product({sum_[part + j], own}, exponential(emission[j], &all));
          near_[part + j] = x.m;
          place_[part + j] = x.e;
        }
      }
      return all;
    });
    const I active = has_frame(t);
    failed_ |= ((spread.most == Spread<Real>::kLow) | spread.wide_lanes()) & active;
    const I shift = spread.shifts();
    for (std::int64_t j = 0; j < states_; ++j) near_[j] = relative_to<Real>({near_[j], place_[j]}, shift);
    Int shifts[kLane];
    store(shifts, shift);
    for (std::int64_t l = 0; l < kLane; ++l) base_[l] += shifts[l];
  }

  // Emission scores of frame t, a vector for each of n states; 0 where a sequence has no such frame.
  HMM_INLINE void read(std::int64_t t, std::int64_t first, std::int64_t n, V (&emission)[kLane]) const {
#pragma GCC unroll 16
    for (int l = 0; l < kLane; ++l) {
      const Real* from = frame(l, t, model_->log_emission) + first;
      emission[l] = t < length_[l] ? load_first<V>(from, n, Real{}) : V{};
    }
    transpose<Real>(emission);
  }

  // Frame t of lane l in (B, T, K).
  template <typename Scalar>
  HMM_INLINE Scalar* frame(std::int64_t l, std::int64_t t, Scalar* values) const {
    return values + (sequence_[l] * model_->frames + t) * states_;
  }
  I has_frame(std::int64_t t) const { return lengths_ > splat_int<Real>(static_cast<Int>(t)); }
  bool hopeless() const { return !any((lengths_ > 0) & ~failed_); }

  // Adds values[j] of every state j, in the order in which hmm::sum adds vectors of states.
  template <typename Values>
  HMM_INLINE V sum_states(Values&& values) {
    V total[kLane];
#pragma GCC unroll 16
    for (int l = 0; l < kLane; ++l) total[l] = V{};
    std::int64_t j = 0;
    for (; j + kLane <= states_; j += kLane) {
#pragma GCC unroll 16
      for (int l = 0; l < kLane; ++l) total[l] = total[l] + values(j + l);
    }
#pragma GCC unroll 16
    for (int l = 0; l < kLane; ++l) {
      if (j + l < states_) total[l] = total[l] + values(j + l);
    }
#pragma GCC unroll 4
    for (int half = kLane / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (int l = 0; l < half; ++l) total[l] = total[l] + total[l + half];
    }
    return total[0];
  }

  // gamma_ of frame t, from the sums, still to be multiplied by what is returned.
  V smooth(std::int64_t t, bool starts, I ends) {
    const Real* alpha = kept_.data() + t * states_ * kLane;
    const std::int64_t before = t > 0 ? states_ * kLane : 0;
    const Real* relative = backward_->relative();
    const V* sum = starts ? plain_ : sum_;
    const V n = sum_states([&](std::int64_t j) __attribute__((always_inline)) {
      __builtin_prefetch(alpha + j * kLane - before);
      gamma_[j] = load<V>(alpha + j * kLane) * sum[j] * splat<V>(relative[j]);
      return gamma_[j];
    });
    const I lost = ~(n >= Limits<Real>::kLeastSum);
    failed_ |= lost & has_frame(t) & ~ends;
    const V factor = Real{1} / n;
    return starts ? smooth_ends(alpha, ends, factor) : factor;
  }
  // The same in extended numbers, as a last frame is there.
  V smooth_ends(const Real* alpha, I ends, V factor) {
    Extended<Real> product[kNarrow];
    I most = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int64_t j = 0; j < states_; ++j) {
      product[j] =
          normalized(extend<Real>(load<V>(alpha + j * kLane), I{}) * extend<Real>(sum_[j], exponent_[j]));
      most = max(most, product[j].e);
    }
    const V n = sum_states([&](std::int64_t j) __attribute__((always_inline)) {
      const V value = relative_to<Real>(product[j], most);
      gamma_[j] = ends ? value : gamma_[j];
      return value;
    });
    return ends ? Real{1} / n : factor;
  }

  // Writes a value for each state, times a factor, to frame t of (B, T, K), where there is such a frame.
  void write(std::int64_t t, const V (&value)[kNarrow], V factor, Real* to) const {
    for (std::int64_t part = 0; part < states_; part += kLane) {
      const std::int64_t n = states_ - part < kLane ? states_ - part : kLane;
      V row[kLane];
#pragma GCC unroll 16
      for (int j = 0; j < kLane; ++j) row[j] = value[part + j] * factor;
      transpose<Real>(row);
#pragma GCC unroll 16
      for (int l = 0; l < kLane; ++l) {
        if (t < length_[l]) store_first(frame(l, t, to) + part, row[l], n);
      }
    }
  }

  const Model<Real>* model_ = nullptr;
  const Table<Real>* forward_ = nullptr;
  const Table<Real>* backward_ = nullptr;
  std::int64_t states_ = 0;
  std::int64_t count_ = 0;
  std::int64_t longest_ = 0;
  std::int64_t sequence_[kLane];
  std::int64_t length_[kLane];
  std::int64_t base_[kLane];
  I failed_{};
  I lengths_{};
  V near_[kNarrow]{}, sum_[kNarrow]{}, plain_[kNarrow]{}, gamma_[kNarrow]{};
  I exponent_[kNarrow]{}, place_[kNarrow]{};
  Buffer<Real> kept_, row_mantissa_;
};

}  // namespace dense

HMM_END_TARGET
