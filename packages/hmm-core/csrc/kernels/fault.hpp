// The instances of the check of values that the Python module binds.
#pragma once

#include "dispatch.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

namespace hmm {

struct FaultKernels {
  Fault (*single)(const Model<float>&, const Executor&, bool emissions);
  Fault (*twice)(const Model<double>&, const Executor&, bool emissions);

  auto of(float) const { return single; }
  auto of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(FaultKernels, fault_kernels)

}  // namespace hmm
