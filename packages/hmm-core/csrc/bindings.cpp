// Python module hmm_core.backends.cpu._cpu: addresses and sizes in, no arithmetic. The caller owns and checks
// the memory.
#include <nanobind/nanobind.h>

#include <cstdint>

#include "kernels.hpp"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

template <typename Real>
void viterbi(Address log_initial, Address predecessors, Address log_weight, Address log_emission,
             Address lengths, Address log_final, Address emission_index, std::int64_t batch,
             std::int64_t frames, std::int64_t state_count, std::int64_t slots, std::int64_t densities,
             std::int64_t initial_stride, std::int64_t predecessor_stride, std::int64_t weight_stride,
             std::int64_t weight_step, std::int64_t final_stride, std::int64_t index_stride, int threads,
             Address states) {
  const hmm::ViterbiLayout layout{batch,       frames,         state_count,        slots,
                                  densities,   initial_stride, predecessor_stride, weight_stride,
                                  weight_step, final_stride,   index_stride};
  const nb::gil_scoped_release released;
  hmm::viterbi<Real>(pointer<const Real>(log_initial), pointer<const std::int64_t>(predecessors),
                     pointer<const Real>(log_weight), pointer<const Real>(log_emission),
                     pointer<const std::int64_t>(lengths), pointer<const Real>(log_final),
                     pointer<const std::int64_t>(emission_index), layout, threads,
                     pointer<std::int64_t>(states));
}

}  // namespace

NB_MODULE(_cpu, module) {
  module.def("viterbi_float32", &viterbi<float>);
  module.def("viterbi_float64", &viterbi<double>);
}
