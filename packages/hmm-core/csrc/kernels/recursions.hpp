// The instances of the sum-product recursions, with dense and with sparse transitions, that the Python module
// binds.
#pragma once

#include <cstdint>
#include <type_traits>

#include "dispatch.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

namespace hmm {

template <typename Real>
struct RecursionFunctions {
  using Int = std::conditional_t<sizeof(Real) == 4, std::int32_t, std::int64_t>;

  void (*forward)(const Model<Real>&, const Executor&, Real* log_alpha, Real* log_likelihood);
  void (*backward)(const Model<Real>&, const Executor&, Real* log_beta);
  void (*log_likelihood)(const Model<Real>&, const Executor&, Real* log_likelihood, Real* mantissa,
                         Int* exponent);
  void (*posterior)(const Model<Real>&, const Executor&, Real* state, Real* log_likelihood);
  void (*gradient)(const Model<Real>&, const Executor&, const Real* upstream, const Real* mantissa,
                   const Int* exponent, Real* d_initial, Real* d_weight, Real* d_emission, Real* d_final);
  void (*expected_transitions)(const Model<Real>&, const Executor&, Real* counts);
};

struct RecursionKernels {
  RecursionFunctions<float> single;
  RecursionFunctions<double> twice;

  const RecursionFunctions<float>& of(float) const { return single; }
  const RecursionFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(RecursionKernels, dense_kernels)
HMM_DECLARE_KERNELS(RecursionKernels, sparse_kernels)

}  // namespace hmm
