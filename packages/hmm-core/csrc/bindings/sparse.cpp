#include "../kernels/sparse.hpp"

#include "common.hpp"

namespace {

// The kernels for a model's precision, called without the interpreter's lock.
template <typename Work>
void with_kernels(const AnyModel& any, int threads, Work&& work) {
  any.visit([&](const auto& model) {
    using Real = RealOf<decltype(model)>;
    work(model, hmm::ThreadPool::executor(threads), hmm::sparse_kernels().of(Real{}), Real{});
  });
}

}  // namespace

void bind_sparse(nb::module_& module) {
  module.def("sparse_forward", [](const AnyModel& any, int threads, Address log_alpha,
                                  Address log_likelihood) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      prefer_large_pages(model, log_alpha, model.states);
      kernels.forward(model, executor, pointer<Real>(log_alpha), pointer<Real>(log_likelihood));
    });
  });
  module.def("sparse_backward", [](const AnyModel& any, int threads, Address log_beta) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      prefer_large_pages(model, log_beta, model.states);
      kernels.backward(model, executor, pointer<Real>(log_beta));
    });
  });
  module.def("sparse_log_likelihood", [](const AnyModel& any, int threads, Address log_likelihood,
                                         Address mantissa, Address exponent) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      using Int = typename hmm::SparseFunctions<Real>::Int;
      kernels.log_likelihood(model, executor, pointer<Real>(log_likelihood), pointer<Real>(mantissa),
                             pointer<Int>(exponent));
    });
  });
  module.def("sparse_posterior", [](const AnyModel& any, int threads, Address state, Address log_likelihood) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      prefer_large_pages(model, state, model.states);
      kernels.posterior(model, executor, pointer<Real>(state), pointer<Real>(log_likelihood));
    });
  });
  module.def("sparse_gradient", [](const AnyModel& any, int threads, Address upstream, Address mantissa,
                                   Address exponent, Address d_initial, Address d_weight, Address d_emission,
                                   Address d_final) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      prefer_large_pages(model, d_emission, model.densities);
      using Int = typename hmm::SparseFunctions<Real>::Int;
      kernels.gradient(model, executor, pointer<const Real>(upstream), pointer<const Real>(mantissa),
                       pointer<const Int>(exponent), pointer<Real>(d_initial), pointer<Real>(d_weight),
                       pointer<Real>(d_emission), pointer<Real>(d_final));
    });
  });
  module.def("sparse_expected_transitions", [](const AnyModel& any, int threads, Address counts) {
    with_kernels(any, threads, [&](const auto& model, const auto& executor, const auto& kernels, auto real) {
      using Real = decltype(real);
      kernels.expected_transitions(model, executor, pointer<Real>(counts));
    });
  });
}
