#include "../kernels/recursions.hpp"

#include "common.hpp"

namespace {

template <typename Real>
using IntOf = typename hmm::RecursionFunctions<Real>::Int;

// Calls work(model, kernels, executor) with the kernels for a model's transitions and precision.
template <typename Work>
void run(const AnyModel& any, int threads, Work&& work) {
  any.visit([&](const auto& model) {
    using Real = RealOf<decltype(model)>;
    const hmm::RecursionKernels& kernels = model.dense() ? hmm::dense_kernels() : hmm::sparse_kernels();
    work(model, kernels.of(Real{}), hmm::ThreadPool::executor(threads));
  });
}

// What log_likelihood keeps: mantissas (B, T, K), then exponents; or null.
template <typename Real>
IntOf<Real>* exponents(const hmm::Model<Real>& model, Address message) {
  if (message == 0) return nullptr;
  return pointer<IntOf<Real>>(message) + model.batch * model.frames * model.states;
}

}  // namespace

void bind_recursions(nb::module_& module) {
  module.def("forward", [](const AnyModel& any, int threads, Address log_alpha, Address log_likelihood) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, log_alpha, model.states);
      kernels.forward(model, executor, pointer<Real>(log_alpha), pointer<Real>(log_likelihood));
    });
  });
  module.def("backward", [](const AnyModel& any, int threads, Address log_beta) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, log_beta, model.states);
      kernels.backward(model, executor, pointer<Real>(log_beta));
    });
  });
  module.def("log_likelihood", [](const AnyModel& any, int threads, Address log_likelihood, Address message) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      // Of sparse models, only the states that a path can reach are written: small pages cost less there.
      if (model.dense()) prefer_large_pages(model, message, 2 * model.states);
      kernels.log_likelihood(model, executor, pointer<Real>(log_likelihood), pointer<Real>(message),
                             exponents(model, message));
    });
  });
  module.def("posterior", [](const AnyModel& any, int threads, Address state, Address log_likelihood) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, state, model.states);
      kernels.posterior(model, executor, pointer<Real>(state), pointer<Real>(log_likelihood));
    });
  });
  module.def("gradient", [](const AnyModel& any, int threads, Address upstream, Address message,
                            Address d_initial, Address d_weight, Address d_emission, Address d_final) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      prefer_large_pages(model, d_emission, model.densities);
      kernels.gradient(model, executor, pointer<const Real>(upstream), pointer<const Real>(message),
                       exponents(model, message), pointer<Real>(d_initial), pointer<Real>(d_weight),
                       pointer<Real>(d_emission), pointer<Real>(d_final));
    });
  });
  module.def("expected_transitions", [](const AnyModel& any, int threads, Address counts) {
    run(any, threads, [&](const auto& model, const auto& kernels, const auto& executor) {
      using Real = RealOf<decltype(model)>;
      kernels.expected_transitions(model, executor, pointer<Real>(counts));
    });
  });
}
