#include "hmm/dense.hpp"

#include "recursions.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(RecursionKernels, dense_kernels) = {
    {&dense_forward<float>, &dense_backward<float>, &dense_log_likelihood<float>, &dense_posterior<float>,
     &dense_gradient<float>, &dense_expected_transitions<float>},
    {&dense_forward<double>, &dense_backward<double>, &dense_log_likelihood<double>, &dense_posterior<double>,
     &dense_gradient<double>, &dense_expected_transitions<double>}};

}  // namespace hmm
