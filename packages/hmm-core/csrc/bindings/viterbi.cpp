#include "../kernels/viterbi.hpp"

#include "common.hpp"

void bind_viterbi(nb::module_& module) {
  module.def("viterbi", [](const AnyModel& any, int threads, int memory, Address states, Address log_score) {
    return static_cast<int>(any.visit([&](const auto& model) {
                                 using Real = RealOf<decltype(model)>;
                                 return hmm::viterbi_kernels().of(Real{}).viterbi(
                                     model, hmm::ThreadPool::executor(threads), memory,
                                     pointer<std::int64_t>(states), pointer<Real>(log_score));
                               })
                                .kind);
  });
  module.def("beam_viterbi", [](const AnyModel& any, int threads, int memory, double width, Address states,
                                Address log_score, Address depth, Address exact) {
    return static_cast<int>(any.visit([&](const auto& model) {
                                 using Real = RealOf<decltype(model)>;
                                 return hmm::viterbi_kernels().of(Real{}).beam_viterbi(
                                     model, hmm::ThreadPool::executor(threads), memory, width,
                                     pointer<std::int64_t>(states), pointer<Real>(log_score),
                                     pointer<Real>(depth), pointer<bool>(exact));
                               })
                                .kind);
  });
  module.def("kbest", [](const AnyModel& any, int threads, std::int64_t num_paths, Address states,
                         Address log_score) {
    any.visit([&](const auto& model) {
      using Real = RealOf<decltype(model)>;
      hmm::viterbi_kernels().of(Real{}).kbest(model, hmm::ThreadPool::executor(threads), num_paths,
                                              pointer<std::int64_t>(states), pointer<Real>(log_score));
    });
  });
}
