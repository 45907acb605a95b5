// Forward filtering, backward sampling: state paths drawn from their posterior distribution.
//
//   z[n] ~ alpha[n, i] final[i],    z[t] | z[t+1] = j ~ alpha[t, i] weight[t, i, j]
//
// S. L. Scott, "Bayesian methods for hidden Markov models", J. Am. Stat. Assoc. 97(457), 2002.
//
// A state is the inverse of the cumulative distribution at a uniform number that the caller drew.
// Probabilities add up in double, in the order of the states. Memory: the messages of one sequence, 8
// (double: 16) bytes a state and frame, for every thread.
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

// Draws the paths of one sequence after another, keeping its buffers.
template <typename Real>
class Sampler {
 public:
  using Int = typename Simd<Real>::Int;

  void open(const Model<Real>& model) {
    model_ = &model;
    pass_.open(model, true);
    const std::int64_t n = padded<Real>(model.slots > model.states ? model.slots : model.states);
    log_weight_.reserve(n);
    term_ = term_buffer_.reserve(n);
    cumulative_.reserve(n);
  }

  // uniform and states: T numbers a sample, `stride` apart from one sample to the next.
  void draw(std::int64_t b, std::int64_t samples, std::int64_t stride, const double* uniform,
            std::int64_t* states) {
    const Model<Real>& m = *model_;
    const std::int64_t length = m.lengths[b];
    for (std::int64_t s = 0; s < samples; ++s) {
      for (std::int64_t t = 0; t < m.frames; ++t) states[s * stride + t] = -1;
    }
    if (samples == 0 || length == 0 || !pass_.run(b, [](std::int64_t) {})) return;
    const std::int64_t* predecessors = m.dense() ? nullptr : m.predecessors + b * m.predecessor_stride;
    const Real* weight = m.log_weight + b * m.weight_stride;
    if (!accumulate_final(m.log_final + b * m.final_stride, length - 1)) return;  // No path may end here.
    for (std::int64_t s = 0; s < samples; ++s) {
      states[s * stride + length - 1] = pick(m.states, uniform[s * stride + length - 1]);
    }
    for (std::int64_t s = 0; s < samples; ++s) {
      std::int64_t* path = states + s * stride;
      for (std::int64_t t = length - 2; t >= 0; --t) {
        const Real* step = weight + t * m.weight_step;
        path[t] = m.dense() ? draw_dense(step, t, path[t + 1], uniform[s * stride + t])
                            : draw_sparse(predecessors, step, t, path[t + 1], uniform[s * stride + t]);
      }
    }
  }

 private:
  bool accumulate_final(const Real* log_final, std::int64_t t) {
    const Message<Real> alpha = pass_.at(t);
    for (std::int64_t i = 0; i < model_->states; ++i) {
      log_weight_[i] = log_final[i];
      term_.m[i] = alpha.m[i];
      term_.e[i] = alpha.e[i];
    }
    return accumulate_terms(model_->states);
  }

  std::int64_t draw_dense(const Real* log_weight, std::int64_t t, std::int64_t to, double uniform) {
    const std::int64_t K = model_->states;
    const Message<Real> alpha = pass_.at(t);
    for (std::int64_t i = 0; i < K; ++i) log_weight_[i] = log_weight[i * K + to];
    for (std::int64_t i = 0; i < padded<Real>(K); i += kLanes<Real>) term_.put(i, alpha.at(i));
    accumulate_terms(K);
    return pick(K, uniform);
  }

  std::int64_t draw_sparse(const std::int64_t* predecessors, const Real* log_weight, std::int64_t t,
                           std::int64_t to, double uniform) {
    const std::int64_t R = model_->slots;
    const Message<Real> alpha = pass_.at(t);
    std::int64_t n = 0;
    for (; n < R && predecessors[to * R + n] >= 0; ++n) {
      const std::int64_t i = predecessors[to * R + n];
      log_weight_[n] = log_weight[to * R + n];
      term_.m[n] = alpha.m[i];
      term_.e[n] = alpha.e[i];
    }
    accumulate_terms(n);
    return predecessors[to * R + pick(n, uniform)];
  }

  // Multiplies n terms by their weights and adds them up; false if all are 0.
  bool accumulate_terms(std::int64_t n) {
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t size = padded<Real>(n);
    for (std::int64_t i = n; i < size; ++i) {
      log_weight_[i] = -std::numeric_limits<Real>::infinity();
      term_.m[i] = 0;
      term_.e[i] = Format<Real>::kZeroExponent;
    }
    IntVec<Real> tops = splat_int<Real>(Format<Real>::kZeroExponent);
    for (std::int64_t i = 0; i < size; i += L) {
      const Extended<Real> term =
          normalized(term_.at(i) * exp_extended(load<Vec<Real>>(log_weight_.data() + i)));
      tops = max(tops, term.e);
      term_.put(i, term);
    }
    const Int top = largest(tops);
    if (top == Format<Real>::kZeroExponent) return false;
    for (std::int64_t i = 0; i < size; i += L) {
      const Extended<Real> term = term_.at(i);
      store(term_.m + i, relative_to<Real>(term, splat_int<Real>(top)));
    }
    double total = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      total += static_cast<double>(term_.m[i]);
      cumulative_[i] = total;
    }
    return true;
  }

  // The first of n states whose cumulative probability exceeds the uniform number.
  std::int64_t pick(std::int64_t n, double uniform) const {
    const double target = uniform * cumulative_[n - 1];
    std::int64_t low = 0;
    std::int64_t high = n - 1;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (cumulative_[middle] > target) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  const Model<Real>* model_ = nullptr;
  ForwardPass<Real> pass_;
  Buffer<Real> log_weight_;
  MessageBuffer<Real> term_buffer_;
  Message<Real> term_{};
  Buffer<double> cumulative_;
};

}  // namespace detail

// Paths (S, B, T) from uniform numbers (S, B, T) in [0, 1); -1 after the end of a sequence and where no path
// exists.
template <typename Real>
void sample(const Model<Real>& m, const Executor& executor, std::int64_t samples, const double* uniform,
            std::int64_t* states) {
  const double arcs = static_cast<double>(m.dense() ? m.states * m.states : m.states * m.slots);
  const double draws = static_cast<double>(samples) * static_cast<double>(m.dense() ? m.states : m.slots);
  const double work = static_cast<double>(m.batch) * static_cast<double>(m.frames) * (arcs / 8 + 4 * draws);
  const int threads = useful_threads(executor, m.batch, work);
  PerWorker<detail::Sampler<Real>> samplers(threads);
  for_each_sequence(m, executor, threads, [&](std::int64_t b, int worker) {
    detail::Sampler<Real>& sampler = samplers[worker];
    sampler.open(m);
    sampler.draw(b, samples, m.batch * m.frames, uniform + b * m.frames, states + b * m.frames);
  });
}

HMM_END_TARGET
