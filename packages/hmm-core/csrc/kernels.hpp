// The instances of the engine that the Python module binds; compiled in kernels.cpp with optimisation for
// speed.
#pragma once

#include "hmm/viterbi.hpp"

extern template void hmm::viterbi<float>(const float*, const std::int64_t*, const float*, const float*,
                                         const std::int64_t*, const float*, const std::int64_t*,
                                         const hmm::ViterbiLayout&, int, std::int64_t*);
extern template void hmm::viterbi<double>(const double*, const std::int64_t*, const double*, const double*,
                                          const std::int64_t*, const double*, const std::int64_t*,
                                          const hmm::ViterbiLayout&, int, std::int64_t*);
