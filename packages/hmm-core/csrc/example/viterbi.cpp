// A C++ program that needs the headers only: c++ -std=c++17 -O3 -Iinclude example/viterbi.cpp
//
// Decodes five frames with a left-to-right model of three states and prints the best path: 0 0 1 1 2
#include "hmm/viterbi.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

int main() {
  const float impossible = -std::numeric_limits<float>::infinity();
  const float half = std::log(0.5F);
  const std::vector<float> log_initial{0.0F, impossible, impossible};
  const std::vector<std::int64_t> predecessors{0, -1, 0, 1, 1, 2};
  const std::vector<float> log_weight{half, impossible, half, half, half, 0.0F};
  const std::vector<float> log_final{impossible, impossible, 0.0F};
  const std::vector<float> log_emission{
      -1.0F, -3.0F, -3.0F,  //
      -1.0F, -3.0F, -3.0F,  //
      -3.0F, -1.0F, -3.0F,  //
      -3.0F, -1.0F, -3.0F,  //
      -3.0F, -3.0F, -1.0F,
  };
  const std::vector<std::int64_t> lengths{5};

  hmm::Model<float> model;
  model.batch = 1;
  model.frames = 5;
  model.states = 3;
  model.slots = 2;
  model.densities = 3;
  model.log_initial = log_initial.data();
  model.predecessors = predecessors.data();
  model.log_weight = log_weight.data();
  model.log_emission = log_emission.data();
  model.lengths = lengths.data();
  model.log_final = log_final.data();
  std::vector<std::int64_t> states(5);
  float log_score = 0.0F;
  hmm::viterbi(model, hmm::Executor{}, hmm::ViterbiMemory::kAuto, states.data(), &log_score);
  for (const std::int64_t state : states) std::printf("%lld ", static_cast<long long>(state));
  std::printf("\n");
  return 0;
}
