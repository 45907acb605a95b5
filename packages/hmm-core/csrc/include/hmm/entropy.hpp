// Entropy of the posterior distribution over state paths.
//
//   H[t, j] = sum_i p(i | j) (H[t-1, i] - log p(i | j)),   p(i | j) ~ alpha[t-1, i] weight[t-1, i, j]
//
// D. Hernando, V. Crespi, G. Cybenko, "Efficient computation of the hidden Markov model entropy for a given
// observation sequence", IEEE Trans. Inf. Theory 51(7), 2005.
//
// The entropies of a frame are relative to the least of them; these differences add up in double. Two rows of
// messages are kept.
//
// A logarithm an arc is what this costs. With dense transitions that serve all steps, log p(i | j) falls
// apart into logarithms of a frame and of a table, and all sums over arcs are products with tables:
//
//   H[t, j] = sum_i (weight alpha (H[t-1, i] - log alpha) - (weight log weight) alpha) / c[j] + log c[j],
//   c[j]    = sum_i weight alpha
//
// Where a state is certain these terms cancel: they are doubles, whatever the precision of the model. The
// tables are 16 bytes an arc, for each thread.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/model.hpp"
#include "hmm/steps.hpp"

HMM_BEGIN_TARGET

namespace detail {

// The entropies of a frame from those of the frame before it, as products with tables.
template <typename Real>
class EntropyProducts {
 public:
  using V = Vec<double>;

  // Lays out weights (K, K), if they are not those of the last call.
  void set_weights(const Real* log_weight, std::int64_t states) {
    if (log_weight == log_weight_) return;
    log_weight_ = log_weight;
    states_ = states;
    size_ = padded<Real>(states);
    weight_.reserve(states * size_);
    product_.reserve(states * size_);
    alpha_.reserve(size_);
    rest_.reserve(size_);
    column_.reserve(states);
    for (std::int64_t j = 0; j < size_; ++j) lay_out(j);
  }

  // Entropies relative to those of `before`, with the message of that frame; NaN where a sum may have lost
  // something.
  void step(Message<Real> alpha, const Real* before, double* now) {
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      const Extended<Real> x = alpha.at(j);
      const Vec<Real> entropy = load<Vec<Real>>(before + j);
      if constexpr (sizeof(Real) == 8) {
        weigh(j, x.m, x.e, entropy);
      } else {
        weigh_part<0>(j, x, entropy);
        weigh_part<1>(j + kLane, x, entropy);
      }
    }
    for (std::int64_t j = 0; j < size_; j += kTile * kLane) {
      switch ((size_ - j) / kLane) {
        case 1:
          multiply<1>(j, now);
          break;
        case 2:
          multiply<2>(j, now);
          break;
        case 3:
          multiply<3>(j, now);
          break;
        default:
          multiply<kTile>(j, now);
      }
    }
  }

 private:
  static constexpr std::int64_t kLane = kLanes<double>;
  // Vectors whose sums are in registers together.
  static constexpr std::int64_t kTile = 4;
  // What vanishes in a product is 2^-1022 at most.
  static constexpr double kTrusted = 0x1p-900;

  std::int64_t place(std::int64_t i, std::int64_t j) const {
    const std::int64_t tile = j / (kTile * kLane) * (kTile * kLane);
    const std::int64_t width = size_ - tile < kTile * kLane ? size_ - tile : kTile * kLane;
    return tile * states_ + i * width + (j - tile);
  }

  // The weights into a state relative to the largest.
  void lay_out(std::int64_t j) {
    constexpr double kNothing = -std::numeric_limits<double>::infinity();
    double top = kNothing;
    for (std::int64_t i = 0; i < states_; ++i) {
      column_[i] = j < states_ ? static_cast<double>(log_weight_[i * states_ + j]) : kNothing;
      if (column_[i] > top) top = column_[i];
    }
    if (top == kNothing) top = 0;
    for (std::int64_t i = 0; i < states_; i += kLane) {
      const V log = load_within<double>(column_.data(), i, states_, kNothing) - top;
      const V weight = exp<double>(log);
      const V product = weight == 0 ? V{} : -weight * log;
      for (std::int64_t l = 0; l < kLane && i + l < states_; ++l) {
        weight_[place(i + l, j)] = weight[l];
        product_[place(i + l, j)] = product[l];
      }
    }
  }

  template <int half>
  HMM_INLINE void weigh_part(std::int64_t j, Extended<Real> x, Vec<Real> entropy) {
    weigh(j, __builtin_convertvector(half_of<half>(x.m), V),
          __builtin_convertvector(half_of<half>(x.e), IntVec<double>),
          __builtin_convertvector(half_of<half>(entropy), V));
  }
  // alpha, and alpha (H - log alpha).
  HMM_INLINE void weigh(std::int64_t j, V mantissa, IntVec<double> exponent, V entropy) {
    const V alpha = relative_to<double>({mantissa, exponent}, IntVec<double>{});
    store(alpha_.data() + j, alpha);
    store(rest_.data() + j, alpha == 0 ? V{} : alpha * (entropy - log(alpha)));
  }

  template <int kVectors>
  void multiply(std::int64_t j, double* now) const {
    const double* weight = weight_.data() + j * states_;
    const double* product = product_.data() + j * states_;
    V sum[kVectors] = {};
    V spent[kVectors] = {};
    for (std::int64_t i = 0; i < states_; ++i) {
      const V alpha = splat<V>(alpha_[i]);
      const V rest = splat<V>(rest_[i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const V w = load<V>(weight + v * kLane);
        sum[v] = madd(alpha, w, sum[v]);
        spent[v] = madd(alpha, load<V>(product + v * kLane), madd(rest, w, spent[v]));
      }
      weight += kVectors * kLane;
      product += kVectors * kLane;
    }
    for (int v = 0; v < kVectors; ++v) {
      const V entropy = max(spent[v] / sum[v] + log(sum[v]), V{});
      store(now + j + v * kLane,
            sum[v] >= kTrusted ? entropy : splat<V>(std::numeric_limits<double>::quiet_NaN()));
    }
  }

  const Real* log_weight_ = nullptr;
  std::int64_t states_ = 0;
  std::int64_t size_ = 0;
  Buffer<double> weight_, product_, alpha_, rest_, column_;
};

// One sequence after another, keeping its buffers.
template <typename Real>
class EntropyPass {
 public:
  void open(const Model<Real>& model) {
    model_ = &model;
    pass_.open(model, false);
    const std::int64_t size = padded<Real>(model.states);
    before_.reserve(size);
    now_.reserve(size);
    tables_ = model.dense() && model.weight_step == 0 && model.states > kFewStates;
    if (tables_) product_.reserve(size);
    final_ = final_buffer_.reserve(size);
  }

  Real run(std::int64_t b) {
    const std::int64_t length = model_->lengths[b];
    if (length == 0) return 0;
    if (tables_) products_.set_weights(model_->log_weight + b * model_->weight_stride, model_->states);
    double offset = 0;
    const bool possible = pass_.run(b, [&](std::int64_t t) { offset += t == 0 ? start() : step(t); });
    if (!possible || !weigh_ends(length - 1, model_->log_final + b * model_->final_stride)) return 0;
    return static_cast<Real>(offset + finish());
  }

 private:
  // -p log p + p H, nothing where p is 0.
  HMM_INLINE static Vec<Real> part(Vec<Real> p, Vec<Real> entropy) {
    return p < std::numeric_limits<Real>::min() ? Vec<Real>{} : p * (entropy - log(p));
  }

  double start() {
    for (std::int64_t j = 0; j < padded<Real>(model_->states); ++j) now_[j] = 0;
    return 0;
  }

  // Entropies of frame t in now_, relative to the least, which is returned.
  double step(std::int64_t t) {
    constexpr std::int64_t L = kLanes<Real>;
    constexpr Real kMost = std::numeric_limits<Real>::max();
    const std::int64_t size = padded<Real>(model_->states);
    const Steps<Real>& steps = pass_.steps();
    const Message<Real> alpha = pass_.at(t - 1);
    const Message<Real> reached = pass_.at(t);
    for (std::int64_t j = 0; j < size; j += L) store(before_.data() + j, load<Vec<Real>>(now_.data() + j));
    if (tables_) products_.step(alpha, before_.data(), product_.data());
    Vec<Real> least = splat<Vec<Real>>(kMost);
    for (std::int64_t j = 0; j < size; j += L) {
      const auto unreached = load<Vec<Real>>(reached.m + j) == 0;
      Vec<Real> entropy{};
      if (tables_) {
        for (std::int64_t l = 0; l < L; ++l) now_[j + l] = static_cast<Real>(product_[j + l]);
        entropy = load<Vec<Real>>(now_.data() + j);
      }
      if (!tables_ || any((entropy != entropy) & ~unreached)) entropy = by_arcs(steps, alpha, j);
      entropy = unreached ? Vec<Real>{} : entropy;
      store(now_.data() + j, entropy);
      least = min(least, unreached ? splat<Vec<Real>>(kMost) : entropy);
    }
    const Real shift = -largest(-least);
    for (std::int64_t j = 0; j < size; j += L) {
      const Vec<Real> entropy = load<Vec<Real>>(now_.data() + j);
      store(now_.data() + j, load<Vec<Real>>(reached.m + j) == 0 ? Vec<Real>{} : entropy - shift);
    }
    return static_cast<double>(shift);
  }

  // Entropies of the states j, j+1, ... of a vector, an arc after another.
  Vec<Real> by_arcs(const Steps<Real>& steps, Message<Real> alpha, std::int64_t j) const {
    Extended<Real> total = zero<Real>();
    steps.arcs(alpha, j, [&](Extended<Real> term, auto&&) { total = accumulate(total, term); });
    total = normalized(total);
    const Vec<Real> all = total.m == 0 ? splat<Vec<Real>>(Real{1}) : total.m;
    Vec<Real> entropy{};
    steps.arcs(alpha, j, [&](Extended<Real> term, auto&& source) {
      entropy = entropy + part(relative_to<Real>(term, total.e) / all, source(before_.data()));
    });
    return entropy;
  }

  // Weights of the last states in final_; false where no path may end.
  bool weigh_ends(std::int64_t t, const Real* log_final) {
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t size = padded<Real>(model_->states);
    const Message<Real> alpha = pass_.at(t);
    pass_.steps().exp_all(log_final, final_);
    IntVec<Real> tops = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int64_t j = 0; j < size; j += L) {
      const Extended<Real> end = normalized(alpha.at(j) * final_.at(j));
      tops = max(tops, end.e);
      final_.put(j, end);
    }
    top_ = largest(tops);
    return top_ != Format<Real>::kZeroExponent;
  }

  double finish() const {
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t size = padded<Real>(model_->states);
    const IntVec<Real> top = splat_int<Real>(top_);
    Vec<Real> total{};
    for (std::int64_t j = 0; j < size; j += L) total = total + relative_to<Real>(final_.at(j), top);
    const Real all = sum(total);
    Vec<Real> entropy{};
    for (std::int64_t j = 0; j < size; j += L) {
      entropy = entropy + part(relative_to<Real>(final_.at(j), top) / all, load<Vec<Real>>(now_.data() + j));
    }
    return static_cast<double>(sum(entropy));
  }

  // Of no more states, tables gain little.
  static constexpr std::int64_t kFewStates = 4;

  const Model<Real>* model_ = nullptr;
  ForwardPass<Real> pass_;
  Buffer<Real> before_, now_;
  bool tables_ = false;
  EntropyProducts<Real> products_;
  Buffer<double> product_;
  MessageBuffer<Real> final_buffer_;
  Message<Real> final_{};
  typename Simd<Real>::Int top_ = 0;
};

}  // namespace detail

// Entropy (B,) in nats; 0 of an empty sequence and where no path exists.
template <typename Real>
void entropy(const Model<Real>& m, const Executor& executor, Real* result) {
  const double arcs = static_cast<double>(m.dense() ? m.states * m.states : m.states * m.slots);
  const int threads = useful_threads(executor, m.batch,
                                     4 * arcs * static_cast<double>(m.batch) * static_cast<double>(m.frames));
  PerWorker<detail::EntropyPass<Real>> passes(threads);
  for_each_sequence(m, executor, threads, [&](std::int64_t b, int worker) {
    passes[worker].open(m);
    result[b] = passes[worker].run(b);
  });
}

HMM_END_TARGET
