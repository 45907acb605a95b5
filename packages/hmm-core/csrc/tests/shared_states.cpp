// Threads that share the states of one large model: no race, and the bits that one thread gives.
#include <cstring>
#include <vector>

#include "check.hpp"
#include "hmm/dense.hpp"
#include "hmm/fault.hpp"
#include "hmm/sparse.hpp"
#include "hmm/thread_pool.hpp"
#include "hmm/viterbi.hpp"

namespace {

using Real = float;
using Integer = std::int64_t;
constexpr Real kNothing = -std::numeric_limits<Real>::infinity();

// One sequence; every seventh arc and the first states are impossible.
struct Example {
  std::vector<Real> log_initial, log_weight, log_emission, log_final;
  std::vector<Integer> predecessors, lengths, emission_index;
  hmm::Model<Real> model;

  Example(Integer frames, Integer states, std::vector<Integer> distances, Integer densities) {
    Random random;
    const auto fill = [&](std::vector<Real>& values, Integer size) {
      for (Integer i = 0; i < size; ++i) values.push_back(static_cast<Real>(random.uniform() * 4 - 3));
    };
    model.batch = 1;
    model.frames = frames;
    model.states = states;
    model.slots = static_cast<Integer>(distances.size());
    model.densities = densities == 0 ? states : densities;
    for (Integer j = 0; j < states && !distances.empty(); ++j) {
      std::size_t used = 0;
      for (const Integer distance : distances) {
        if (distance > j) continue;
        predecessors.push_back(j - distance);
        ++used;
      }
      for (; used < distances.size(); ++used) predecessors.push_back(-1);
    }
    fill(log_initial, states);
    fill(log_final, states);
    fill(log_weight, model.weights());
    fill(log_emission, frames * model.densities);
    for (std::size_t i = 0; i < log_weight.size(); i += 7) log_weight[i] = kNothing;
    for (Integer j = 0; j < states / 3; ++j) log_initial[static_cast<std::size_t>(j)] = kNothing;
    lengths.push_back(frames);
    for (Integer j = 0; j < states && densities > 0; ++j) emission_index.push_back(random.below(50));
    if (!distances.empty()) model.predecessors = predecessors.data();
    if (densities > 0) model.emission_index = emission_index.data();
    model.log_initial = log_initial.data();
    model.log_weight = log_weight.data();
    model.log_emission = log_emission.data();
    model.lengths = lengths.data();
    model.log_final = log_final.data();
    CHECK(hmm::find_fault(model).kind == hmm::Fault::kNone);
  }
  Example(const Example&) = delete;
};

// Everything that a few threads compute.
struct Results {
  std::vector<Real> numbers;
  std::vector<Integer> path;

  Results(const hmm::Model<Real>& m, int threads) {
    const hmm::Executor executor = hmm::ThreadPool::executor(threads);
    const Integer messages = m.frames * m.states, emissions = m.frames * m.densities;
    const std::vector<Real> upstream{1.5f};
    numbers.resize(static_cast<std::size_t>(2 + 3 * messages + 2 * m.weights() + emissions + 2 * m.states));
    path.resize(static_cast<std::size_t>(m.frames));
    Real* to = numbers.data();
    const auto next = [&](Integer size) {
      to += size;
      return to - size;
    };
    Real* const likelihood = next(1);
    Real* const alpha = next(messages);
    Real* const beta = next(messages);
    Real* const state = next(messages);
    Real* const counts = next(m.weights());
    Real* const d_weight = next(m.weights());
    Real* const d_emission = next(emissions);
    Real* const d_initial = next(m.states);
    Real* const d_final = next(m.states);
    if (m.dense()) {
      hmm::dense_forward(m, executor, alpha, likelihood);
      hmm::dense_backward(m, executor, beta);
      hmm::dense_posterior(m, executor, state, likelihood);
      hmm::dense_expected_transitions(m, executor, counts);
      hmm::dense_gradient<Real>(m, executor, upstream.data(), nullptr, nullptr, d_initial, d_weight,
                                d_emission, d_final);
    } else {
      hmm::sparse_forward(m, executor, alpha, likelihood);
      hmm::sparse_backward(m, executor, beta);
      hmm::sparse_posterior(m, executor, state, likelihood);
      hmm::sparse_expected_transitions(m, executor, counts);
      hmm::sparse_gradient<Real>(m, executor, upstream.data(), nullptr, nullptr, d_initial, d_weight,
                                 d_emission, d_final);
    }
    const hmm::Fault fault = hmm::viterbi(m, executor, hmm::ViterbiMemory::kLinear, path.data(), next(1));
    CHECK(fault.kind == hmm::Fault::kNone && path[0] >= 0);
  }
};

void several_threads_give_the_bits_of_one(const Example& example) {
  const Results one(example.model, 1);
  CHECK(one.numbers[0] > kNothing);
  for (const int threads : {2, 3}) {
    const Results several(example.model, threads);
    CHECK(several.path == one.path);
    CHECK(std::memcmp(several.numbers.data(), one.numbers.data(), one.numbers.size() * sizeof(Real)) == 0);
  }
}

}  // namespace

int main() {
  several_threads_give_the_bits_of_one({12, 613, {}, 0});
  several_threads_give_the_bits_of_one({12, 20011, {1, 0}, 0});
  several_threads_give_the_bits_of_one({12, 20011, {900, 17, 1, 0}, 50});
}
