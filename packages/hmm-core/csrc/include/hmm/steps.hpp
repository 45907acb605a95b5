// One step of the forward recursion over numbers with their own exponent, for dense and sparse transitions:
//
//   next[j] = emission[j] * sum_i message[i] * weight[i, j]
//
// Sums of dense transitions are plain ones of what stays near the largest message, a multiplication and an
// addition an arc; a state whose sum comes out so small that something may have been lost is computed again
// from numbers with exponents.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"
#include "hmm/model.hpp"
#include "hmm/simd.hpp"

HMM_BEGIN_TARGET

// Where the numbers of all states lie: mantissas and exponents, in whole vectors.
template <typename Real>
struct Message {
  Real* m;
  typename Simd<Real>::Int* e;

  HMM_INLINE Extended<Real> at(std::int64_t j) const {
    return {load<Vec<Real>>(m + j), load<IntVec<Real>>(e + j)};
  }
  HMM_INLINE void put(std::int64_t j, Extended<Real> x) const {
    store(m + j, x.m);
    store(e + j, x.e);
  }
};

// Memory of a message.
template <typename Real>
class MessageBuffer {
 public:
  Message<Real> reserve(std::int64_t size) { return {m_.reserve(size), e_.reserve(size)}; }

 private:
  Buffer<Real> m_;
  Buffer<typename Simd<Real>::Int> e_;
};

// A sum whose mantissa grows with its terms, each below 4; bring it back with extend().
template <typename Real>
HMM_INLINE Extended<Real> accumulate(Extended<Real> sum, Extended<Real> term) {
  const IntVec<Real> e = max(sum.e, term.e);
  return {relative_to<Real>(sum, e) + relative_to<Real>(term, e), e};
}

// Natural logarithm of m * 2^e with a positive normal mantissa; -inf of 0.
template <typename Real>
HMM_INLINE Vec<Real> log_of(Extended<Real> x) {
  using F = Format<Real>;
  const Vec<Real> e = __builtin_convertvector(x.e, Vec<Real>);
  const Vec<Real> y = madd(e, splat<Vec<Real>>(F::kLn2High), madd(e, splat<Vec<Real>>(F::kLn2Low), log(x.m)));
  return x.m == 0 ? splat<Vec<Real>>(-std::numeric_limits<Real>::infinity()) : y;
}

// Whole vectors of an array of n values, the last one filled up.
template <typename Real>
HMM_INLINE Vec<Real> load_within(const Real* values, std::int64_t i, std::int64_t n, Real rest) {
  return i + kLanes<Real> <= n ? load<Vec<Real>>(values + i) : load_first<Vec<Real>>(values + i, n - i, rest);
}

// Whether n values hold neither NaN nor +inf.
template <typename Real>
inline bool all_below_infinity(const Real* values, std::int64_t n) {
  IntVec<Real> right = splat_int<Real>(-1);
  for (std::int64_t i = 0; i < n; i += kLanes<Real>) {
    right &= load_within<Real>(values, i, n, 0) <= std::numeric_limits<Real>::max();
  }
  return !any(~right);
}

// The steps of one sequence. All messages hold padded_states() numbers, zero after the first K.
template <typename Real>
class Steps {
 public:
  using Int = typename Simd<Real>::Int;

  // Allocates for models of these sizes.
  void open(std::int64_t states, std::int64_t slots, std::int64_t densities) {
    states_ = states;
    slots_ = slots;
    densities_ = densities;
    size_ = padded<Real>(states);
    plain_.reserve(size_);
    emission_ = emission_buffer_.reserve(size_);
    scale_.reserve(size_);
    trusted_.reserve(size_ / kLanes<Real>);
  }

  std::int64_t padded_states() const { return size_; }

  // Which density each state reads; null: state k reads density k.
  void set_index(const std::int64_t* emission_index) {
    tied_ = emission_index != nullptr;
    if (!tied_) return;
    const std::int64_t P = padded<Real>(densities_);
    density_ = density_buffer_.reserve(P);
    unread_.reserve(P);
    index_.reserve(size_);
    for (std::int64_t p = 0; p < P; ++p) unread_[p] = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < size_; ++j) {
      index_[j] = j < states_ ? static_cast<std::int32_t>(emission_index[j]) : 0;
      unread_[index_[j]] = 0;
    }
  }

  // Reads the weights (K, K) or (K, R). `again`: they serve many steps, so that tables are worth their
  // making. Dense weights must stay where they are.
  void set_weights(const std::int64_t* predecessors, const Real* log_weight, bool again) {
    log_weight_ = log_weight;
    tables_ = again;
    if (predecessors != nullptr) {
      make_slots(predecessors, log_weight);
    } else if (again) {
      make_tiles(log_weight);
    }
  }

  // Reads the scores of a frame; returns their maximum over what is read, which the emissions are relative
  // to.
  Real set_emission(const Real* log_density) {
    using V = Vec<Real>;
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    V top = splat<V>(kNothing);
    for (std::int64_t p = 0; p < densities_; p += kLanes<Real>) {
      V x = load_within<Real>(log_density, p, densities_, kNothing);
      if (tied_) x = x + load<V>(unread_.data() + p);
      top = max(top, x);
    }
    const Real peak = largest(top);
    if (peak == kNothing) return peak;
    const Message<Real> to = tied_ ? density_ : emission_;
    for (std::int64_t p = 0; p < densities_; p += kLanes<Real>) {
      to.put(p, exp_extended(load_within<Real>(log_density, p, densities_, kNothing) - peak));
    }
    if (tied_) {
      for (std::int64_t j = 0; j < size_; ++j) {
        emission_.m[j] = density_.m[index_[j]];
        emission_.e[j] = density_.e[index_[j]];
      }
    }
    return peak;
  }

  // Exponentials of K log weights.
  void exp_all(const Real* log_values, Message<Real> to) const {
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      to.put(j,
             exp_extended(load_within<Real>(log_values, j, states_, -std::numeric_limits<Real>::infinity())));
    }
  }

  // next[j] = sum_i message[i] weight[i, j]. The exponents of the message are at most 0.
  void advance(Message<Real> message, Message<Real> next) {
    constexpr std::int64_t L = kLanes<Real>;
    if (slots_ > 0 || !tables_) {
      for (std::int64_t j = 0; j < size_; j += L) next.put(j, exact(message, j));
      return;
    }
    for (std::int64_t j = 0; j < size_; j += L) {
      store(plain_.data() + j, relative_to<Real>(message.at(j), IntVec<Real>{}));
    }
    for (std::int64_t j = 0; j < size_; j += kTile * L) {
      switch ((size_ - j) / L) {
        case 1:
          advance_tile<1>(j, message, next);
          break;
        case 2:
          advance_tile<2>(j, message, next);
          break;
        case 3:
          advance_tile<3>(j, message, next);
          break;
        default:
          advance_tile<kTile>(j, message, next);
      }
    }
  }

  // Multiplies by the emission of set_emission() and makes the largest exponent 0; returns what it was, or
  // the exponent of zero if nothing is left.
  Int settle(Message<Real> x) const {
    constexpr std::int64_t L = kLanes<Real>;
    IntVec<Real> tops = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int64_t j = 0; j < size_; j += L) {
      const Extended<Real> product = normalized(x.at(j) * emission_.at(j));
      tops = max(tops, product.e);
      x.put(j, product);
    }
    const Int top = largest(tops);
    for (std::int64_t j = 0; j < size_; j += L) {
      const Extended<Real> product = x.at(j);
      store(x.e + j, product.m == 0 ? product.e : product.e - top);
    }
    return top;
  }

  // Calls visit(term, source) for every arc into the states j, j+1, ... of a vector, a slot after another:
  // term = message[i] weight[i, j], and source(values) is values[i]. After advance() with the same message.
  template <typename Visit>
  HMM_INLINE void arcs(Message<Real> message, std::int64_t j, Visit&& visit) const {
    if (slots_ > 0) {
      for (std::int64_t r = 0; r < used_[j / kLanes<Real>]; ++r) {
        const std::int64_t at = r * size_ + j;
        const std::int32_t* index = source_.data() + at;
        const Extended<Real> from{gather<Vec<Real>>(message.m, index),
                                  gather<IntVec<Real>>(message.e, index)};
        visit(from * slot_.at(at), [&](const Real* values) { return gather<Vec<Real>>(values, index); });
      }
      return;
    }
    if (tables_ && trusted_[j / kLanes<Real>]) {
      // Arcs that are 0 in the table add nothing to a sum that is trusted.
      const std::int64_t tile = j / (kTile * kLanes<Real>)*(kTile * kLanes<Real>);
      const std::int64_t width = tile_width(tile);
      const IntVec<Real> scale = load<IntVec<Real>>(scale_.data() + j);
      const Real* row = tile_.data() + tile * states_ + (j - tile);
      for (std::int64_t i = 0; i < states_; ++i, row += width) {
        if (message.m[i] == 0) continue;
        visit(Extended<Real>{load<Vec<Real>>(row) * message.m[i], scale + message.e[i]},
              [&](const Real* values) { return splat<Vec<Real>>(values[i]); });
      }
      return;
    }
    for (std::int64_t i = 0; i < states_; ++i) {
      if (message.m[i] == 0) continue;
      const Extended<Real> weight = exp_extended(load_within<Real>(
          log_weight_ + i * states_ + j, 0, states_ - j, -std::numeric_limits<Real>::infinity()));
      visit(Extended<Real>{weight.m * message.m[i], weight.e + message.e[i]},
            [&](const Real* values) { return splat<Vec<Real>>(values[i]); });
    }
  }

 private:
  // Vectors whose sums are in registers together.
  static constexpr std::int64_t kTile = 4;
  // A plain sum above this, relative to its largest possible term, lacks nothing: what vanishes in a product
  // is 2^-126 (2^-1022) at most, times a million terms.
  static constexpr Real kTrusted =
      sizeof(Real) == 4 ? static_cast<Real>(0x1p-80) : static_cast<Real>(0x1p-900);

  Extended<Real> exact(Message<Real> message, std::int64_t j) const {
    Extended<Real> total = zero<Real>();
    arcs(message, j, [&](Extended<Real> term, auto&&) { total = accumulate(total, term); });
    return normalized(total);
  }

  template <int N>
  void advance_tile(std::int64_t j, Message<Real> message, Message<Real> next) {
    using V = Vec<Real>;
    constexpr std::int64_t L = kLanes<Real>;
    const Real* row = tile_.data() + j * states_;
    V total[N] = {};
    for (std::int64_t i = 0; i < states_; ++i, row += N * L) {
      const V from = splat<V>(plain_[i]);
      for (int n = 0; n < N; ++n) total[n] = madd(load<V>(row + n * L), from, total[n]);
    }
    for (int n = 0; n < N; ++n) {
      const std::int64_t at = j + n * L;
      const IntVec<Real> scale = load<IntVec<Real>>(scale_.data() + at);
      const auto doubtful = (total[n] < kTrusted) & (scale != Format<Real>::kZeroExponent);
      trusted_[at / L] = !any(doubtful);
      next.put(at, !trusted_[at / L] ? exact(message, at) : extend<Real>(total[n], scale));
    }
  }

  std::int64_t tile_width(std::int64_t tile) const {
    return size_ - tile < kTile * kLanes<Real> ? size_ - tile : kTile * kLanes<Real>;
  }

  // Weights into a state relative to a power of two near the largest, tile by tile.
  void make_tiles(const Real* log_weight) {
    constexpr std::int64_t L = kLanes<Real>;
    tile_.reserve(states_ * size_);
    for (std::int64_t tile = 0; tile < size_; tile += kTile * L) {
      const std::int64_t width = tile_width(tile);
      for (std::int64_t j = tile; j < tile + width; j += L) {
        const auto weight = [&](std::int64_t i) {
          return exp_extended(load_within<Real>(log_weight + i * states_ + j, 0, states_ - j,
                                                -std::numeric_limits<Real>::infinity()));
        };
        IntVec<Real> top = splat_int<Real>(Format<Real>::kZeroExponent);
        for (std::int64_t i = 0; i < states_; ++i) top = max(top, weight(i).e);
        store(scale_.data() + j, top);
        for (std::int64_t i = 0; i < states_; ++i) {
          store(tile_.data() + tile * states_ + i * width + (j - tile), relative_to<Real>(weight(i), top));
        }
      }
    }
  }

  // Arcs slot by slot, so that a vector of states is read at once.
  void make_slots(const std::int64_t* predecessors, const Real* log_weight) {
    constexpr std::int64_t L = kLanes<Real>;
    slot_ = slot_buffer_.reserve(slots_ * size_);
    source_.reserve(slots_ * size_);
    used_.reserve(size_ / L);
    for (std::int64_t v = 0; v < size_ / L; ++v) used_[v] = 0;
    for (std::int64_t j = 0; j < size_; ++j) {
      for (std::int64_t r = 0; r < slots_; ++r) {
        const bool used = j < states_ && predecessors[j * slots_ + r] >= 0;
        source_[r * size_ + j] = used ? static_cast<std::int32_t>(predecessors[j * slots_ + r]) : 0;
        slot_.m[r * size_ + j] = used ? log_weight[j * slots_ + r] : -std::numeric_limits<Real>::infinity();
        if (used && used_[j / L] <= r) used_[j / L] = r + 1;
      }
    }
    for (std::int64_t i = 0; i < slots_ * size_; i += L)
      slot_.put(i, exp_extended(load<Vec<Real>>(slot_.m + i)));
  }

  std::int64_t states_ = 0;
  std::int64_t slots_ = 0;
  std::int64_t densities_ = 0;
  std::int64_t size_ = 0;
  bool tied_ = false;
  bool tables_ = false;
  const Real* log_weight_ = nullptr;
  Message<Real> emission_{}, density_{}, slot_{};
  MessageBuffer<Real> emission_buffer_, density_buffer_, slot_buffer_;
  Buffer<Real> plain_, tile_, unread_;
  Buffer<Int> scale_;
  Buffer<std::int32_t> index_, source_;
  Buffer<std::int64_t> used_;
  Buffer<bool> trusted_;
};

// The forward messages of a sequence. Keeps all of them, or the last one.
template <typename Real>
class ForwardPass {
 public:
  // Allocates for a sequence of this model. `keep`: all messages stay until the next run.
  void open(const Model<Real>& model, bool keep) {
    model_ = &model;
    keep_ = keep;
    steps_.open(model.states, model.slots, model.densities);
  }

  // Runs over sequence b, and calls seen(t) after each frame.
  // Returns false where no path reaches the last frame.
  template <typename Seen>
  bool run(std::int64_t b, Seen&& seen) {
    const Model<Real>& m = *model_;
    const std::int64_t length = m.lengths[b];
    const std::int64_t K = steps_.padded_states();
    all_ = buffer_.reserve(K * (keep_ ? length : 2));
    const Real* weight = m.log_weight + b * m.weight_stride;
    const std::int64_t* predecessors = m.dense() ? nullptr : m.predecessors + b * m.predecessor_stride;
    steps_.set_index(m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride);
    const bool shared = m.weight_step == 0;
    if (shared) steps_.set_weights(predecessors, weight, length > 2);
    for (std::int64_t t = 0; t < length; ++t) {
      const Real peak = steps_.set_emission(m.log_emission + (b * m.frames + t) * m.densities);
      if (peak == -std::numeric_limits<Real>::infinity()) return false;
      if (t == 0) {
        steps_.exp_all(m.log_initial + b * m.initial_stride, at(0));
      } else {
        if (!shared) steps_.set_weights(predecessors, weight + (t - 1) * m.weight_step, false);
        steps_.advance(at(t - 1), at(t));
      }
      if (steps_.settle(at(t)) == Format<Real>::kZeroExponent) return false;
      seen(t);
    }
    return true;
  }

  // The message of frame t, of which the largest exponent is 0.
  Message<Real> at(std::int64_t t) const {
    const std::int64_t row = (keep_ ? t : t % 2) * steps_.padded_states();
    return {all_.m + row, all_.e + row};
  }

  // With the weights of the last step.
  const Steps<Real>& steps() const { return steps_; }

 private:
  const Model<Real>* model_ = nullptr;
  bool keep_ = false;
  Steps<Real> steps_;
  MessageBuffer<Real> buffer_;
  Message<Real> all_{};
};

HMM_END_TARGET
