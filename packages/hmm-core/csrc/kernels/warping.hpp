// The instances of the engine's two-dimensional recursions that the Python module binds.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/dtw.hpp"
#include "hmm/executor.hpp"
#include "hmm/warping_model.hpp"

namespace hmm {

template <typename Real>
struct WarpingFunctions {
  void (*dtw)(const Warping<Real>&, StepPattern, const Executor&, Real* distance, std::int64_t* path,
              std::int64_t* path_length);
  void (*soft_dtw)(const Warping<Real>&, double gamma, const Executor&, Real* value, Real* message);
  void (*soft_dtw_backward)(const Warping<Real>&, double gamma, const Executor&, const Real* factor,
                            Real* message, Real* gradient);
  std::int64_t (*soft_dtw_message_size)(std::int64_t rows, std::int64_t columns);
  void (*soft_dtw_frames)(const Warping<Real>&, double gamma, const Executor&, Real* value, Real* by_x,
                          Real* by_y);
  void (*frame_cost)(const Warping<Real>&, const Executor&, Real* cost);
};

struct WarpingKernels {
  WarpingFunctions<float> single;
  WarpingFunctions<double> twice;

  const WarpingFunctions<float>& of(float) const { return single; }
  const WarpingFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(WarpingKernels, warping_kernels)

}  // namespace hmm
