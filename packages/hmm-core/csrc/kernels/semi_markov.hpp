// The instances of the engine's semi-Markov recursions that the Python module binds.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/executor.hpp"
#include "hmm/semi_markov_model.hpp"

namespace hmm {

template <typename Real>
struct SemiMarkovFunctions {
  void (*log_likelihood)(const SemiMarkovModel<Real>&, const Executor&, Real* log_likelihood);
  void (*posterior)(const SemiMarkovModel<Real>&, const Executor&, const SemiMarkovCounts<Real>&);
  void (*viterbi)(const SemiMarkovModel<Real>&, const Executor&, std::int64_t* states,
                  std::int64_t* durations);
  void (*sample)(const SemiMarkovModel<Real>&, const Executor&, std::int64_t samples, const double* uniform,
                 std::int64_t* states, std::int64_t* durations);
};

struct SemiMarkovKernels {
  SemiMarkovFunctions<float> single;
  SemiMarkovFunctions<double> twice;

  const SemiMarkovFunctions<float>& of(float) const { return single; }
  const SemiMarkovFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(SemiMarkovKernels, semi_markov_kernels)

}  // namespace hmm
