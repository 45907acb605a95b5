#include "sampling.hpp"

#include "hmm/entropy.hpp"
#include "hmm/sample.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(SamplingKernels, sampling_kernels) = {{&sample<float>, &entropy<float>},
                                                         {&sample<double>, &entropy<double>}};

}  // namespace hmm
