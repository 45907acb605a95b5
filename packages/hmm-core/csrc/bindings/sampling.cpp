#include "../kernels/sampling.hpp"

#include "common.hpp"

void bind_sampling(nb::module_& module) {
  module.def("sample",
             [](const AnyModel& any, int threads, std::int64_t samples, Address uniform, Address states) {
               any.visit([&](const auto& model) {
                 using Real = RealOf<decltype(model)>;
                 hmm::sampling_kernels().of(Real{}).sample(model, hmm::ThreadPool::executor(threads), samples,
                                                           pointer<const double>(uniform),
                                                           pointer<std::int64_t>(states));
               });
             });
  module.def("entropy", [](const AnyModel& any, int threads, Address result) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      hmm::sampling_kernels().of(Real{}).entropy(model, hmm::ThreadPool::executor(threads),
                                                 pointer<Real>(result));
    });
  });
}
