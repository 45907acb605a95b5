#include "viterbi.hpp"

#include "hmm/kbest.hpp"
#include "hmm/viterbi.hpp"

namespace hmm {
inline namespace HMM_TARGET {
namespace {

template <typename Real>
Fault decode(const Model<Real>& model, const Executor& executor, int memory, std::int64_t* states,
             Real* log_score) {
  return viterbi(model, executor, static_cast<ViterbiMemory>(memory), states, log_score);
}

template <typename Real>
Fault decode_with_beam(const Model<Real>& model, const Executor& executor, int memory, double width,
                       std::int64_t* states, Real* log_score, Real* depth, bool* exact) {
  const Beam<Real> beam{static_cast<Real>(width), depth, exact};
  return viterbi(model, executor, static_cast<ViterbiMemory>(memory), states, log_score, &beam);
}

}  // namespace
}  // namespace HMM_TARGET

HMM_DEFINE_KERNELS(ViterbiKernels, viterbi_kernels) = {
    {&decode<float>, &decode_with_beam<float>, &kbest<float>},
    {&decode<double>, &decode_with_beam<double>, &kbest<double>}};

}  // namespace hmm
