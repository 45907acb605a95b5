// The instances of the engine's two-dimensional recursions that the Python module binds.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/dtw.hpp"
#include "hmm/executor.hpp"
#include "hmm/frame_cost.hpp"
#include "hmm/warping.hpp"

namespace hmm {

template <typename Real>
struct WarpingFunctions {
  void (*dtw)(const Warping<Real>&, StepPattern, const Executor&, Real* distance, std::int64_t* path,
              std::int64_t* path_length);
  void (*soft_dtw)(const Warping<Real>&, double gamma, const Executor&, Real* value, Real* message);
  void (*soft_dtw_backward)(const Warping<Real>&, double gamma, const Executor&, const Real* factor,
                            Real* message, Real* gradient);
  std::int64_t (*soft_dtw_message_size)(std::int64_t rows, std::int64_t columns);
  void (*frame_cost)(const FramePairs<Real>&, const Executor&, Real* cost);
};

struct WarpingKernels {
  WarpingFunctions<float> single;
  WarpingFunctions<double> twice;

  const WarpingFunctions<float>& of(float) const { return single; }
  const WarpingFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(WarpingKernels, warping_kernels)

}  // namespace hmm
