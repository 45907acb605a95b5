// Small random models of every form, and all their paths.
#pragma once

#include <limits>
#include <vector>

#include "check.hpp"
#include "hmm/fault.hpp"
#include "hmm/model.hpp"

// A batch of `batch` sequences of 0 to `frames` frames; padding holds NaN. The vectors own the memory, each
// exactly as long as it must be.
template <typename Real>
struct RandomModel {
  std::vector<Real> log_initial, log_weight, log_emission, log_final;
  std::vector<std::int64_t> predecessors, lengths, emission_index;
  hmm::Model<Real> model;

  RandomModel(Random& random, int batch, int frames, int states, bool sparse, bool own_tables,
              bool varying = false, bool shared_densities = false, double impossible = 0.2) {
    const std::int64_t B = batch, T = frames, K = states;
    const std::int64_t tables = own_tables ? B : 1, steps = varying && T > 2 ? T - 1 : 1;
    const auto fill = [&](std::vector<Real>& values, std::int64_t size) {
      for (std::int64_t i = 0; i < size; ++i)
        values.push_back(random.uniform() < impossible ? -std::numeric_limits<Real>::infinity()
                                                       : static_cast<Real>(random.uniform() * 4 - 3));
    };
    model.batch = B;
    model.frames = T;
    model.states = K;
    model.densities = shared_densities ? 2 : K;
    fill(log_initial, tables * K);
    fill(log_final, tables * K);
    if (sparse) {
      model.slots = 1 + random.below(states);
      for (std::int64_t state = 0; state < tables * K; ++state) {
        std::int64_t used = 0;
        for (std::int64_t from = 0; from < K && used < model.slots; ++from)
          if (random.uniform() < 0.6) {
            predecessors.push_back(from);
            ++used;
          }
        for (; used < model.slots; ++used) predecessors.push_back(-1);
      }
      model.predecessors = predecessors.data();
      model.predecessor_stride = own_tables ? K * model.slots : 0;
    }
    fill(log_weight, tables * steps * model.weights());
    fill(log_emission, B * T * model.densities);
    for (std::int64_t b = 0; b < B; ++b) {
      lengths.push_back(b == 0 ? T : random.below(frames + 1));
      for (std::int64_t i = lengths.back() * model.densities; i < T * model.densities; ++i)
        log_emission[static_cast<std::size_t>(b * T * model.densities + i)] =
            std::numeric_limits<Real>::quiet_NaN();
    }
    if (shared_densities) {
      for (std::int64_t i = 0; i < tables * K; ++i) emission_index.push_back(random.below(2));
      model.emission_index = emission_index.data();
    }
    model.log_initial = log_initial.data();
    model.log_weight = log_weight.data();
    model.log_emission = log_emission.data();
    model.lengths = lengths.data();
    model.log_final = log_final.data();
    model.initial_stride = model.final_stride = model.index_stride = own_tables ? K : 0;
    model.weight_step = steps > 1 ? model.weights() : 0;
    model.weight_stride = own_tables ? steps * model.weights() : 0;
    CHECK(hmm::find_fault(model).kind == hmm::Fault::kNone);
  }
  RandomModel(const RandomModel&) = delete;

  // Weight of the step from frame t to t + 1; -inf without an arc.
  long double weight(std::int64_t b, std::int64_t t, std::int64_t from, std::int64_t to) const {
    const Real* table = model.log_weight + b * model.weight_stride + t * model.weight_step;
    if (model.dense()) return table[from * model.states + to];
    for (std::int64_t r = 0; r < model.slots; ++r)
      if (model.predecessors[b * model.predecessor_stride + to * model.slots + r] == from)
        return table[to * model.slots + r];
    return -INFINITY;
  }

  // Log of the joint probability of sequence b and a path of lengths[b] states.
  long double score(std::int64_t b, const std::int64_t* path) const {
    const std::int64_t n = lengths[static_cast<std::size_t>(b)];
    long double sum = n == 0 ? 0 : model.log_initial[b * model.initial_stride + path[0]];
    for (std::int64_t t = 0; t < n; ++t) {
      const std::int64_t p =
          model.emission_index == nullptr ? path[t] : model.emission_index[b * model.index_stride + path[t]];
      sum += model.log_emission[(b * model.frames + t) * model.densities + p];
      if (t > 0) sum += weight(b, t - 1, path[t - 1], path[t]);
    }
    return n == 0 ? 0 : sum + model.log_final[b * model.final_stride + path[n - 1]];
  }

  // Calls visit(path, score) for every path of sequence b that is possible.
  template <typename Visit>
  void each_path(std::int64_t b, Visit visit) const {
    const std::int64_t n = lengths[static_cast<std::size_t>(b)];
    std::vector<std::int64_t> path(static_cast<std::size_t>(n), 0);
    for (;;) {
      const long double s = score(b, path.data());
      if (s > -INFINITY) visit(path, s);
      std::int64_t t = 0;
      while (t < n && ++path[static_cast<std::size_t>(t)] == model.states)
        path[static_cast<std::size_t>(t++)] = 0;
      if (t == n) return;
    }
  }
};
