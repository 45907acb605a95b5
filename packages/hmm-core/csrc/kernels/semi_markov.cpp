#include "semi_markov.hpp"

#include "hmm/semi_markov.hpp"
#include "hmm/semi_markov_sample.hpp"
#include "hmm/semi_markov_viterbi.hpp"

namespace hmm {

HMM_DEFINE_KERNELS(SemiMarkovKernels, semi_markov_kernels) = {
    {&semi_markov_log_likelihood<float>, &semi_markov_posterior<float>, &semi_markov_viterbi<float>,
     &semi_markov_sample<float>},
    {&semi_markov_log_likelihood<double>, &semi_markov_posterior<double>, &semi_markov_viterbi<double>,
     &semi_markov_sample<double>}};

}  // namespace hmm
