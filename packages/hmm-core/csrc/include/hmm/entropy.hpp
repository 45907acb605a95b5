// Entropy of the posterior distribution over state paths.
//
//   H[t, j] = sum_i p(i | j) (H[t-1, i] - log p(i | j)),   p(i | j) ~ alpha[t-1, i] weight[t-1, i, j]
//
// D. Hernando, V. Crespi, G. Cybenko, "Efficient computation of the hidden Markov model entropy for a given
// observation sequence", IEEE Trans. Inf. Theory 51(7), 2005.
//
// The entropies of a frame are relative to the least of them; these differences add up in double. Two rows of
// messages are kept.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"
#include "hmm/steps.hpp"

HMM_BEGIN_TARGET

namespace detail {

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
    final_ = final_buffer_.reserve(size);
  }

  Real run(std::int64_t b) {
    const std::int64_t length = model_->lengths[b];
    if (length == 0) return 0;
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
    Vec<Real> least = splat<Vec<Real>>(kMost);
    for (std::int64_t j = 0; j < size; j += L) {
      Extended<Real> total = zero<Real>();
      steps.arcs(alpha, j, [&](Extended<Real> term, auto&&) { total = accumulate(total, term); });
      total = normalized(total);
      const Vec<Real> all = total.m == 0 ? splat<Vec<Real>>(Real{1}) : total.m;
      Vec<Real> entropy{};
      steps.arcs(alpha, j, [&](Extended<Real> term, auto&& source) {
        entropy = entropy + part(relative_to<Real>(term, total.e) / all, source(before_.data()));
      });
      store(now_.data() + j, entropy);
      least = min(least, load<Vec<Real>>(reached.m + j) == 0 ? splat<Vec<Real>>(kMost) : entropy);
    }
    const Real shift = -largest(-least);
    for (std::int64_t j = 0; j < size; j += L) {
      const Vec<Real> entropy = load<Vec<Real>>(now_.data() + j);
      store(now_.data() + j, load<Vec<Real>>(reached.m + j) == 0 ? Vec<Real>{} : entropy - shift);
    }
    return static_cast<double>(shift);
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

  const Model<Real>* model_ = nullptr;
  ForwardPass<Real> pass_;
  Buffer<Real> before_, now_;
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
  parallel_for(executor, m.batch, threads, [&](std::int64_t b, int worker) {
    passes[worker].open(m);
    result[b] = passes[worker].run(b);
  });
}

HMM_END_TARGET
