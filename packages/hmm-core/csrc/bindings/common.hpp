// What the bindings share: addresses in, no arithmetic. The caller owns and checks the memory.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "hmm/model.hpp"
#include "hmm/thread_pool.hpp"

namespace nb = nanobind;

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

// Asks for large pages under fresh memory, where entering every small one costs more than the kernel that
// fills it.
inline void prefer_large_pages(Address address, std::int64_t bytes) {
#if defined(__linux__)
  constexpr Address kPage = Address{1} << 21;
  const Address begin = (address + kPage - 1) / kPage * kPage;
  const Address end = (address + static_cast<Address>(bytes)) / kPage * kPage;
  if (begin < end)
    madvise(reinterpret_cast<void*>(begin), static_cast<std::size_t>(end - begin), MADV_HUGEPAGE);
#else
  static_cast<void>(address);
  static_cast<void>(bytes);
#endif
}

// The same for an output with `width` numbers a frame.
template <typename Real>
void prefer_large_pages(const hmm::Model<Real>& model, Address output, std::int64_t width) {
  if (output != 0)
    prefer_large_pages(output, model.batch * model.frames * width * static_cast<std::int64_t>(sizeof(Real)));
}

// A model of either precision.
struct AnyModel {
  bool is_double = false;
  hmm::Model<float> single;
  hmm::Model<double> twice;

  // Calls work(const Model<Real>&) with the model that this is, without the interpreter's lock.
  template <typename Work>
  auto visit(Work&& work) const {
    const nb::gil_scoped_release released;
    return is_double ? work(twice) : work(single);
  }
};

// The type of numbers in a model: visit([&](const auto& model) { using Real = RealOf<decltype(model)>; ...
// }).
template <typename Real>
Real real_of(const hmm::Model<Real>&);
template <typename M>
using RealOf = decltype(real_of(std::declval<M>()));

void bind_recursions(nb::module_& module);
void bind_viterbi(nb::module_& module);
void bind_sampling(nb::module_& module);
void bind_semi_markov(nb::module_& module);
void bind_online(nb::module_& module);
void bind_warping(nb::module_& module);
