// Sums over paths with sparse transitions.
#include "hmm/sparse.hpp"

#include "recursions.hpp"

namespace {

template <typename Real>
void all() {
  const Recursions<Real> recursions{&hmm::sparse_forward<Real>,
                                    &hmm::sparse_backward<Real>,
                                    &hmm::sparse_log_likelihood<Real>,
                                    &hmm::sparse_posterior<Real>,
                                    &hmm::sparse_expected_transitions<Real>,
                                    &hmm::sparse_gradient<Real>};
  sums_of_every_form<Real>(recursions, true);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
