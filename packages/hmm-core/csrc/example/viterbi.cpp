// A C++ program that needs the headers only: c++ -std=c++17 -O3 -Iinclude example/viterbi.cpp -pthread
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

  hmm::ViterbiLayout layout{};
  layout.batch = 1;
  layout.frames = 5;
  layout.states = 3;
  layout.slots = 2;
  layout.densities = 3;
  std::vector<std::int64_t> states(5);
  hmm::viterbi(log_initial.data(), predecessors.data(), log_weight.data(), log_emission.data(),
               lengths.data(), log_final.data(), nullptr, layout, 1, states.data());
  for (const std::int64_t state : states) std::printf("%lld ", static_cast<long long>(state));
  std::printf("\n");
  return 0;
}
