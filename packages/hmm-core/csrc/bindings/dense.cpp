#include "../kernels/dense.hpp"

#include "common.hpp"

namespace {

template <typename Real>
using IntOf = typename hmm::DenseFunctions<Real>::Int;

template <typename Real>
const hmm::DenseFunctions<Real>& functions() {
  return hmm::dense_kernels().of(Real{});
}

}  // namespace

void bind_dense(nb::module_& module) {
  module.def("dense_forward",
             [](const AnyModel& any, int threads, Address log_alpha, Address log_likelihood) {
               any.visit([&](const auto& model) {
                 using Real = RealOf<decltype(model)>;
                 prefer_large_pages(model, log_alpha, model.states);
                 functions<Real>().forward(model, hmm::ThreadPool::executor(threads),
                                           pointer<Real>(log_alpha), pointer<Real>(log_likelihood));
               });
             });
  module.def("dense_backward", [](const AnyModel& any, int threads, Address log_beta) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, log_beta, model.states);
      functions<Real>().backward(model, hmm::ThreadPool::executor(threads), pointer<Real>(log_beta));
    });
  });
  module.def("dense_log_likelihood", [](const AnyModel& any, int threads, Address log_likelihood,
                                        Address mantissa, Address exponent) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, mantissa, model.states);
      prefer_large_pages(model, exponent, model.states);
      functions<Real>().log_likelihood(model, hmm::ThreadPool::executor(threads),
                                       pointer<Real>(log_likelihood), pointer<Real>(mantissa),
                                       pointer<IntOf<Real>>(exponent));
    });
  });
  module.def("dense_posterior", [](const AnyModel& any, int threads, Address state, Address log_likelihood) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, state, model.states);
      functions<Real>().posterior(model, hmm::ThreadPool::executor(threads), pointer<Real>(state),
                                  pointer<Real>(log_likelihood));
    });
  });
  module.def("dense_gradient", [](const AnyModel& any, int threads, Address upstream, Address mantissa,
                                  Address exponent, Address d_initial, Address d_weight, Address d_emission,
                                  Address d_final) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, d_emission, model.densities);
      functions<Real>().gradient(model, hmm::ThreadPool::executor(threads), pointer<const Real>(upstream),
                                 pointer<const Real>(mantissa), pointer<const IntOf<Real>>(exponent),
                                 pointer<Real>(d_initial), pointer<Real>(d_weight), pointer<Real>(d_emission),
                                 pointer<Real>(d_final));
    });
  });
  module.def("dense_expected_transitions", [](const AnyModel& any, int threads, Address counts) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      functions<Real>().expected_transitions(model, hmm::ThreadPool::executor(threads),
                                             pointer<Real>(counts));
    });
  });
}
