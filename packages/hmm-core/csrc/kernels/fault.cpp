#include "fault.hpp"

#include "hmm/fault.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(FaultKernels, fault_kernels) = {&find_fault<float>, &find_fault<double>};

}  // namespace hmm
