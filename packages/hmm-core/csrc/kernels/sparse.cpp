#include "hmm/sparse.hpp"

#include "recursions.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(RecursionKernels, sparse_kernels) = {
    {&sparse_forward<float>, &sparse_backward<float>, &sparse_log_likelihood<float>, &sparse_posterior<float>,
     &sparse_gradient<float>, &sparse_expected_transitions<float>},
    {&sparse_forward<double>, &sparse_backward<double>, &sparse_log_likelihood<double>,
     &sparse_posterior<double>, &sparse_gradient<double>, &sparse_expected_transitions<double>}};

}  // namespace hmm
