#include "kernels.hpp"

template void hmm::viterbi<float>(const float*, const std::int64_t*, const float*, const float*,
                                  const std::int64_t*, const float*, const std::int64_t*,
                                  const hmm::ViterbiLayout&, int, std::int64_t*);
template void hmm::viterbi<double>(const double*, const std::int64_t*, const double*, const double*,
                                   const std::int64_t*, const double*, const std::int64_t*,
                                   const hmm::ViterbiLayout&, int, std::int64_t*);
