// Sums over paths with dense transitions.
#include "hmm/dense.hpp"

#include "recursions.hpp"

namespace {

template <typename Real>
void all() {
  const Recursions<Real> recursions{&hmm::dense_forward<Real>,
                                    &hmm::dense_backward<Real>,
                                    &hmm::dense_log_likelihood<Real>,
                                    &hmm::dense_posterior<Real>,
                                    &hmm::dense_expected_transitions<Real>,
                                    &hmm::dense_gradient<Real>};
  sums_of_every_form<Real>(recursions, false);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
