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

}  // namespace
}  // namespace HMM_TARGET

HMM_DEFINE_KERNELS(ViterbiKernels, viterbi_kernels) = {{&decode<float>, &kbest<float>},
                                                       {&decode<double>, &kbest<double>}};

}  // namespace hmm
