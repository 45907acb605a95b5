// The weights of a hidden semi-Markov model as numbers with their own exponent.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"
#include "hmm/semi_markov_model.hpp"

HMM_BEGIN_TARGET

// Extended numbers in memory.
template <typename Real>
class ExtendedArray {
 public:
  using Int = typename Simd<Real>::Int;

  void reserve(std::int64_t size) {
    m_.reserve(size);
    e_.reserve(size);
  }
  HMM_INLINE Extended<Real> load(std::int64_t i) const {
    return {hmm::load<Vec<Real>>(m_.data() + i), hmm::load<IntVec<Real>>(e_.data() + i)};
  }
  HMM_INLINE void store(std::int64_t i, Extended<Real> x) {
    hmm::store(m_.data() + i, x.m);
    hmm::store(e_.data() + i, x.e);
  }
  HMM_INLINE Real* m() { return m_.data(); }
  HMM_INLINE const Real* m() const { return m_.data(); }
  HMM_INLINE Int* e() { return e_.data(); }
  HMM_INLINE const Int* e() const { return e_.data(); }

  // exp(read(j)) of j in 0..n-1 from position `at` on, and zeros up to whole vectors.
  template <typename Read>
  void exponentials(std::int64_t at, std::int64_t n, Read&& read) {
    for (std::int64_t begin = 0; begin < n; begin += kLanes<Real>) {
      Vec<Real> x = splat<Vec<Real>>(-std::numeric_limits<Real>::infinity());
      for (std::int64_t l = 0; l < kLanes<Real> && begin + l < n; ++l)
        x[l] = static_cast<Real>(read(begin + l));
      store(at + begin, normalized(exp_extended(x)));
    }
  }

 private:
  Buffer<Real> m_;
  Buffer<Int> e_;
};

namespace detail {

// One extended number, for sums over states.
template <typename Real>
struct ExtendedScalar {
  Real m;
  typename Simd<Real>::Int e;
};

// 2^d as power_of_two() has it.
template <typename Real>
HMM_INLINE Real scalar_power_of_two(typename Simd<Real>::Int d) {
  return power_of_two<Real>(splat_int<Real>(d))[0];
}

template <typename Real>
HMM_INLINE bool is_zero(Vec<Real> m) {
  return !any(m != 0);
}

// Greatest exponent among numbers that are not zero, or that of zero.
template <typename Real>
typename Simd<Real>::Int top_exponent(const ExtendedArray<Real>& x, std::int64_t size) {
  IntVec<Real> top = splat_int<Real>(Format<Real>::kZeroExponent);
  for (std::int64_t j = 0; j < size; j += kLanes<Real>) top = max(top, x.load(j).e);
  return largest(top);
}

// Least exponent among numbers that are not zero, or minus that of zero.
template <typename Real>
typename Simd<Real>::Int bottom_exponent(const ExtendedArray<Real>& x, std::int64_t size) {
  IntVec<Real> negative = splat_int<Real>(Format<Real>::kZeroExponent);
  for (std::int64_t j = 0; j < size; j += kLanes<Real>) {
    const Extended<Real> value = x.load(j);
    negative = max(negative, value.m == 0 ? negative : -value.e);
  }
  return -largest(negative);
}

// Sum over states of a times b; the order is that of the states.
template <typename Real>
ExtendedScalar<Real> inner_product(const ExtendedArray<Real>& a, const ExtendedArray<Real>& b,
                                   std::int64_t size) {
  IntVec<Real> top = splat_int<Real>(2 * Format<Real>::kZeroExponent);
  for (std::int64_t j = 0; j < size; j += kLanes<Real>) top = max(top, a.load(j).e + b.load(j).e);
  const IntVec<Real> e = splat_int<Real>(largest(top));
  Vec<Real> total{};
  for (std::int64_t j = 0; j < size; j += kLanes<Real>)
    total = total + relative_to<Real>(a.load(j) * b.load(j), e);
  return {sum(total), e[0]};
}

}  // namespace detail

// Transition weights as extended numbers, in the order in which a step reads them.
template <typename Real>
class TransitionTables {
 public:
  using Int = typename Simd<Real>::Int;

  // Reads the weights of one sequence.
  template <typename Input>
  void read(const Model<Input>& model, const std::int64_t* predecessors, const Input* log_weight) {
    states_ = model.states;
    size_ = padded<Real>(states_);
    dense_ = model.dense();
    slots_ = dense_ ? states_ : model.slots;
    weight_.reserve(slots_ * size_);
    if (dense_) {
      backward_.reserve(slots_ * size_);
      for (std::int64_t i = 0; i < states_; ++i) {
        const auto out = [&](std::int64_t j) { return log_weight[i * states_ + j]; };
        const auto in = [&](std::int64_t j) { return log_weight[j * states_ + i]; };
        weight_.exponentials(i * size_, states_, out);
        backward_.exponentials(i * size_, states_, in);
      }
      moderate_ = detail::top_exponent(weight_, slots_ * size_) <= kModerate &&
                  detail::bottom_exponent(weight_, slots_ * size_) >= -kModerate;
      if (!moderate_) return;
      ordinary_.reserve(slots_ * size_);
      ordinary_backward_.reserve(slots_ * size_);
      for (std::int64_t at = 0; at < slots_ * size_; at += kLanes<Real>) {
        store(ordinary_.data() + at, relative_to<Real>(weight_.load(at), IntVec<Real>{}));
        store(ordinary_backward_.data() + at, relative_to<Real>(backward_.load(at), IntVec<Real>{}));
      }
      return;
    }
    source_.reserve(slots_ * size_);
    for (std::int64_t r = 0; r < slots_; ++r) {
      for (std::int64_t j = 0; j < size_; ++j) {
        const bool used = j < states_ && predecessors[j * slots_ + r] >= 0;
        source_[r * size_ + j] = used ? predecessors[j * slots_ + r] : 0;
      }
      weight_.exponentials(r * size_, states_, [&](std::int64_t j) {
        return predecessors[j * slots_ + r] >= 0 ? log_weight[j * slots_ + r]
                                                 : -std::numeric_limits<Input>::infinity();
      });
    }
  }

  std::int64_t slots() const { return slots_; }

  // to[j] = sum over i of from[i] * weight[i, j]. `scratch` holds a number for each state.
  void enter(const ExtendedArray<Real>& from, ExtendedArray<Real>& to, Buffer<Real>& scratch) const {
    if (dense_) {
      multiply(from, weight_, ordinary_, to, scratch);
    } else {
      for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
        IntVec<Real> top = splat_int<Real>(2 * Format<Real>::kZeroExponent);
        for (std::int64_t r = 0; r < slots_; ++r)
          top = max(top, sources(from, r, j).e + weight_.load(r * size_ + j).e);
        Vec<Real> total{};
        for (std::int64_t r = 0; r < slots_; ++r)
          total = total + relative_to<Real>(sources(from, r, j) * weight_.load(r * size_ + j), top);
        to.store(j, extend<Real>(total, top));
      }
    }
  }

  // to[i] = sum over j of weight[i, j] * from[j].
  void leave(const ExtendedArray<Real>& from, ExtendedArray<Real>& to, Buffer<Real>& scratch) const {
    if (dense_) {
      multiply(from, backward_, ordinary_backward_, to, scratch);
      return;
    }
    for (std::int64_t i = 0; i < size_; ++i) {
      to.m()[i] = 0;
      to.e()[i] = 2 * Format<Real>::kZeroExponent;
    }
    for (std::int64_t r = 0; r < slots_; ++r) {
      for (std::int64_t j = 0; j < states_; ++j) {
        Int& top = to.e()[source_[r * size_ + j]];
        const Int e = weight_.e()[r * size_ + j] + from.e()[j];
        top = e > top ? e : top;
      }
    }
    for (std::int64_t r = 0; r < slots_; ++r) {
      for (std::int64_t j = 0; j < states_; ++j) {
        const std::int64_t arc = r * size_ + j;
        const std::int64_t i = source_[arc];
        to.m()[i] += weight_.m()[arc] * from.m()[j] *
                     detail::scalar_power_of_two<Real>(weight_.e()[arc] + from.e()[j] - to.e()[i]);
      }
    }
    for (std::int64_t i = 0; i < size_; i += kLanes<Real>) to.store(i, normalized(to.load(i)));
  }

  // counts[r, j] += before[source] * weight * after[j] * 2^-e: expected uses of every arc.
  void count(const ExtendedArray<Real>& before, const ExtendedArray<Real>& after, Int e, Real* counts) const {
    for (std::int64_t r = 0; r < slots_; ++r) {
      for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
        const Extended<Real> source =
            dense_ ? Extended<Real>{splat<Vec<Real>>(before.m()[r]), splat_int<Real>(before.e()[r])}
                   : sources(before, r, j);
        const Extended<Real> use = source * weight_.load(r * size_ + j) * after.load(j);
        Real* at = counts + r * size_ + j;
        store(at, load<Vec<Real>>(at) + relative_to<Real>(use, splat_int<Real>(e)));
      }
    }
  }

 private:
  // Products of two numbers at most this far apart from 1 are ordinary numbers.
  static constexpr Int kModerate = Format<Real>::kBias / 3;

  HMM_INLINE Extended<Real> sources(const ExtendedArray<Real>& from, std::int64_t r, std::int64_t j) const {
    Extended<Real> x{};
    for (std::int64_t l = 0; l < kLanes<Real>; ++l) {
      const std::int64_t i = source_[r * size_ + j + l];
      x.m[l] = from.m()[i];
      x.e[l] = from.e()[i];
    }
    return x;
  }

  // to = from * matrix, rows of the matrix in `weight`. Where nothing can underflow, with ordinary numbers.
  void multiply(const ExtendedArray<Real>& from, const ExtendedArray<Real>& weight,
                const Buffer<Real>& ordinary, ExtendedArray<Real>& to, Buffer<Real>& scratch) const {
    const Int highest = detail::top_exponent(from, size_);
    if (moderate_ && detail::bottom_exponent(from, size_) >= highest - kModerate) {
      const IntVec<Real> top = splat_int<Real>(highest);
      for (std::int64_t i = 0; i < size_; i += kLanes<Real>)
        store(scratch.data() + i, relative_to<Real>(from.load(i), top));
      for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
        Vec<Real> total{};
        for (std::int64_t i = 0; i < states_; ++i) {
          total = madd(splat<Vec<Real>>(scratch[i]), load<Vec<Real>>(ordinary.data() + i * size_ + j), total);
        }
        to.store(j, extend<Real>(total, top));
      }
      return;
    }
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      IntVec<Real> top = splat_int<Real>(2 * Format<Real>::kZeroExponent);
      for (std::int64_t i = 0; i < states_; ++i)
        top = max(top, splat_int<Real>(from.e()[i]) + weight.load(i * size_ + j).e);
      Vec<Real> total{};
      for (std::int64_t i = 0; i < states_; ++i) {
        const Extended<Real> source{splat<Vec<Real>>(from.m()[i]), splat_int<Real>(from.e()[i])};
        total = total + relative_to<Real>(source * weight.load(i * size_ + j), top);
      }
      to.store(j, extend<Real>(total, top));
    }
  }

  std::int64_t states_ = 0;
  std::int64_t size_ = 0;
  std::int64_t slots_ = 0;
  bool dense_ = true;
  bool moderate_ = false;
  ExtendedArray<Real> weight_;                 // (slots, size) [slot, to]; dense: slot is the source
  ExtendedArray<Real> backward_;               // dense: (size, size) [to, from]
  Buffer<std::int64_t> source_;                // sparse: (slots, size)
  Buffer<Real> ordinary_, ordinary_backward_;  // dense and moderate: both tables as ordinary numbers
};

// Duration weights as extended numbers: (kinds, L, size), all states of one length together.
template <typename Real>
class DurationTables {
 public:
  template <typename Input>
  void read(const SemiMarkovModel<Input>& model, const Input* log_duration) {
    const std::int64_t K = model.hmm.states, L = model.longest;
    size_ = padded<Real>(K);
    weight_.reserve(model.kinds * L * size_);
    for (std::int64_t kind = 0; kind < model.kinds; ++kind) {
      for (std::int64_t d = 0; d < L; ++d) {
        weight_.exponentials((kind * L + d) * size_, K,
                             [&](std::int64_t j) { return log_duration[(kind * K + j) * L + d]; });
      }
    }
    for (int kind = 0; kind < kSegmentKinds; ++kind) offset_[kind] = model.table(kind) * L * size_;
  }

  const ExtendedArray<Real>& weight() const { return weight_; }
  // Where the table of a kind begins.
  HMM_INLINE std::int64_t offset(SegmentKind kind) const { return offset_[kind]; }

 private:
  std::int64_t size_ = 0;
  std::int64_t offset_[kSegmentKinds] = {};
  ExtendedArray<Real> weight_;
};

HMM_END_TARGET
