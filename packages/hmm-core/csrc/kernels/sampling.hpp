// The instances of the engine's sampler and entropy that the Python module binds.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

namespace hmm {

template <typename Real>
struct SamplingFunctions {
  void (*sample)(const Model<Real>&, const Executor&, std::int64_t samples, const double* uniform,
                 std::int64_t* states);
  void (*entropy)(const Model<Real>&, const Executor&, Real* result);
};

struct SamplingKernels {
  SamplingFunctions<float> single;
  SamplingFunctions<double> twice;

  const SamplingFunctions<float>& of(float) const { return single; }
  const SamplingFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(SamplingKernels, sampling_kernels)

}  // namespace hmm
