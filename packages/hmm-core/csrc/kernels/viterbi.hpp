// The instances of the engine's Viterbi decoders that the Python module binds.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

namespace hmm {

template <typename Real>
struct ViterbiFunctions {
  Fault (*viterbi)(const Model<Real>&, const Executor&, int memory, std::int64_t* states, Real* log_score);
  Fault (*beam_viterbi)(const Model<Real>&, const Executor&, int memory, double width, std::int64_t* states,
                        Real* log_score, Real* depth, bool* exact);
  void (*kbest)(const Model<Real>&, const Executor&, std::int64_t num_paths, std::int64_t* states,
                Real* log_score);
};

struct ViterbiKernels {
  ViterbiFunctions<float> single;
  ViterbiFunctions<double> twice;

  const ViterbiFunctions<float>& of(float) const { return single; }
  const ViterbiFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(ViterbiKernels, viterbi_kernels)

}  // namespace hmm
