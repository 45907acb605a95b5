#include "../kernels/viterbi.hpp"

#include "common.hpp"

void bind_viterbi(nb::module_& module) {
  module.def("viterbi", [](const AnyModel& any, int threads, Address states) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      hmm::viterbi_kernels().of(Real{}).viterbi(model, hmm::ThreadPool::executor(threads),
                                                pointer<std::int64_t>(states));
    });
  });
}
