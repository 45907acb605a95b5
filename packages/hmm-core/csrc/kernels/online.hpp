// The engine's filter and decoder of a stream, behind functions, so that an object keeps to the variant of
// the kernels that made it.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "hmm/model.hpp"

namespace hmm {

template <typename Real>
struct OnlineFunctions {
  void* (*make_filter)(const Model<Real>&);
  void (*delete_filter)(void*);
  void (*reset_filter)(void*);
  void (*restore_filter)(void*, const Real* log_filter, double log_likelihood, std::int64_t frames);
  void (*save_filter)(const void*, Real* log_filter);
  bool (*push_filter)(void*, const Real* log_emission, std::int64_t n, std::int64_t width, Real* log_filter,
                      double* log_likelihood);
  double (*log_likelihood)(const void*);
  std::int64_t (*filter_frames)(const void*);

  void* (*make_viterbi)(const Model<Real>&, std::int64_t longest_delay);
  void (*delete_viterbi)(void*);
  void (*reset_viterbi)(void*);
  bool (*push_viterbi)(void*, const Real* log_emission, std::int64_t n, std::int64_t width,
                       std::int64_t* best);
  void (*take)(void*, std::int64_t* states);
  double (*finish)(void*, const Real* log_final, std::int64_t* states);
  std::int64_t (*viterbi_frames)(const void*);
  std::int64_t (*committed)(const void*);
  std::int64_t (*waiting)(const void*);
  std::int64_t (*forced)(const void*);
  double (*log_score)(const void*);
};

struct OnlineKernels {
  OnlineFunctions<float> single;
  OnlineFunctions<double> twice;

  const OnlineFunctions<float>& of(float) const { return single; }
  const OnlineFunctions<double>& of(double) const { return twice; }
};

HMM_DECLARE_KERNELS(OnlineKernels, online_kernels)

}  // namespace hmm
