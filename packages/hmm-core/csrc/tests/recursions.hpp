// Sums over paths of small random models, against the enumeration of all paths.
#pragma once

#include "hmm/extended.hpp"
#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

// The functions of one family.
template <typename Real>
struct Recursions {
  using Int = typename hmm::Simd<Real>::Int;
  void (*forward)(const hmm::Model<Real>&, const hmm::Executor&, Real*, Real*);
  void (*backward)(const hmm::Model<Real>&, const hmm::Executor&, Real*);
  void (*log_likelihood)(const hmm::Model<Real>&, const hmm::Executor&, Real*, Real*, Int*);
  void (*posterior)(const hmm::Model<Real>&, const hmm::Executor&, Real*, Real*);
  void (*expected_transitions)(const hmm::Model<Real>&, const hmm::Executor&, Real*);
  void (*gradient)(const hmm::Model<Real>&, const hmm::Executor&, const Real*, const Real*, const Int*, Real*,
                   Real*, Real*, Real*);
};

template <typename Real>
void sums_are_those_of_all_paths(const Recursions<Real>& recursions, const RandomModel<Real>& example) {
  using Numbers = std::vector<Real>;
  using Exact = std::vector<long double>;
  const hmm::Model<Real>& m = example.model;
  const std::int64_t B = m.batch, T = m.frames, K = m.states, P = m.densities, W = m.weights();
  const std::int64_t steps = m.weight_step == 0 ? 1 : T - 1;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };

  // What the enumeration says.
  Exact log_total(size(B), -INFINITY), state(size(B * T * K), 0), counts(size(B * steps * W), 0);
  for (std::int64_t b = 0; b < B; ++b) {
    long double total = 0;
    example.each_path(b, [&](const auto&, long double score) { total += std::exp(score); });
    log_total[size(b)] = std::log(total);
    example.each_path(b, [&](const std::vector<std::int64_t>& path, long double score) {
      const long double share = std::exp(score) / total;
      for (std::size_t t = 0; t < path.size(); ++t) {
        state[size(b * T + static_cast<std::int64_t>(t)) * size(K) + size(path[t])] += share;
        if (t == 0) continue;
        const std::int64_t step = steps == 1 ? 0 : static_cast<std::int64_t>(t) - 1;
        std::int64_t arc = path[t - 1] * K + path[t];
        if (!m.dense()) {
          arc = path[t] * m.slots;
          while (m.predecessors[b * m.predecessor_stride + arc] != path[t - 1]) ++arc;
        }
        counts[size((b * steps + step) * W + arc)] += share;
      }
    });
  }

  // Probabilities of a few frames; logarithms of up to about 50.
  const long double tolerance = 100 * std::numeric_limits<Real>::epsilon();
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  const auto agree = [&](const Numbers& found, const Exact& exact, long double scale) {
    CHECK(found.size() == exact.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK_CLOSE(found[i], exact[i], scale * tolerance);
  };
  Numbers alpha(size(B * T * K), 7), beta(size(B * T * K), 7), gamma(size(B * T * K), 7),
      likelihood(size(B), 7);
  recursions.forward(m, executor, alpha.data(), likelihood.data());
  agree(likelihood, log_total, 5);
  recursions.backward(m, executor, beta.data());
  recursions.posterior(m, executor, gamma.data(), likelihood.data());
  agree(likelihood, log_total, 5);
  agree(gamma, state, 1);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t i = b * T * K; i < (b + 1) * T * K; ++i) {
      if (i - b * T * K >= example.lengths[size(b)] * K) {
        CHECK(alpha[size(i)] == -INFINITY && beta[size(i)] == -INFINITY);
      } else if (log_total[size(b)] > -INFINITY) {
        const long double log_share =
            static_cast<long double>(alpha[size(i)]) + beta[size(i)] - log_total[size(b)];
        CHECK_CLOSE(std::exp(log_share), state[size(i)], 10 * tolerance);
      }
    }
  Numbers found(size(B * steps * W), 7);
  recursions.expected_transitions(m, executor, found.data());
  agree(found, counts, 1);

  // The derivatives are the same counts, weighted, and added up where sequences share a table.
  Numbers upstream;
  for (std::int64_t b = 0; b < B; ++b) upstream.push_back(static_cast<Real>(b + 1) / 2);
  const std::int64_t initials = m.initial_stride == 0 ? 1 : B, weights = m.weight_stride == 0 ? 1 : B;
  Exact by_initial(size(initials * K), 0), by_final(size(initials * K), 0),
      by_weight(size(weights * steps * W), 0);
  Exact by_emission(size(B * T * P), 0);
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t n = example.lengths[size(b)];
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t k = 0; k < K; ++k) {
        const long double share = upstream[size(b)] * state[size((b * T + t) * K + k)];
        const std::int64_t p = m.emission_index == nullptr ? k : m.emission_index[b * m.index_stride + k];
        by_emission[size((b * T + t) * P + p)] += share;
        if (t == 0) by_initial[size(b % initials * K + k)] += share;
        if (t == n - 1) by_final[size(b % initials * K + k)] += share;
      }
    for (std::int64_t i = 0; i < steps * W; ++i)
      by_weight[size(b % weights * steps * W + i)] += upstream[size(b)] * counts[size(b * steps * W + i)];
  }
  Numbers mantissa(size(B * T * K), 7);
  std::vector<typename hmm::Simd<Real>::Int> exponent(size(B * T * K), 7);
  recursions.log_likelihood(m, executor, likelihood.data(), nullptr, nullptr);
  agree(likelihood, log_total, 5);
  recursions.log_likelihood(m, executor, likelihood.data(), mantissa.data(), exponent.data());
  agree(likelihood, log_total, 5);
  for (const bool kept : {true, false}) {
    Numbers d_initial(by_initial.size(), 7), d_final(by_final.size(), 7), d_weight(by_weight.size(), 7);
    Numbers d_emission(by_emission.size(), 7);
    recursions.gradient(m, executor, upstream.data(), kept ? mantissa.data() : nullptr,
                        kept ? exponent.data() : nullptr, d_initial.data(), d_weight.data(),
                        d_emission.data(), d_final.data());
    agree(d_initial, by_initial, 5);
    agree(d_final, by_final, 5);
    agree(d_weight, by_weight, 5);
    agree(d_emission, by_emission, 5);
  }
}

// Models of every form, around the widths of vectors, with `sparse` transitions or dense ones.
template <typename Real>
void sums_of_every_form(const Recursions<Real>& recursions, bool sparse) {
  Random random;
  const int shapes[][2] = {{1, 1}, {1, 4}, {2, 4}, {3, 5},  {5, 4}, {3, 0},
                           {4, 1}, {8, 3}, {9, 2}, {17, 2}, {33, 2}};
  for (int form = 0; form < 8; ++form)
    for (const auto& [states, frames] : shapes)
      sums_are_those_of_all_paths<Real>(
          recursions, RandomModel<Real>(random, 3, frames, states, sparse, form & 1, form & 2, form & 4));
}
