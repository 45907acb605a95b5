#include "viterbi.hpp"

#include "hmm/viterbi.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(ViterbiKernels, viterbi_kernels) = {{&viterbi<float>}, {&viterbi<double>}};

}  // namespace hmm
