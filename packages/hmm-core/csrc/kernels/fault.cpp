#include "fault.hpp"

#include "hmm/fault.hpp"

namespace hmm {
inline namespace HMM_TARGET {
namespace {

template <typename Real>
Fault check(const Model<Real>& model, const Executor& executor, bool emissions) {
  return emissions ? find_fault(model, executor) : find_table_fault(model);
}

}  // namespace
}  // namespace HMM_TARGET

HMM_DEFINE_KERNELS(FaultKernels, fault_kernels) = {&check<float>, &check<double>};

}  // namespace hmm
