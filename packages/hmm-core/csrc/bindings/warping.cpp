#include "../kernels/warping.hpp"

#include "common.hpp"

namespace {

using Integer = std::int64_t;

// Pairs of either precision.
struct AnyWarping {
  bool is_double = false;
  hmm::Warping<float> single;
  hmm::Warping<double> twice;

  // Calls work(const Warping<Real>&, kernels of Real) without the interpreter's lock.
  template <typename Work>
  auto visit(Work&& work) const {
    const nb::gil_scoped_release released;
    const hmm::WarpingKernels& kernels = hmm::warping_kernels();
    return is_double ? work(twice, kernels.twice) : work(single, kernels.single);
  }
};

template <typename Real>
Real real_of(const hmm::Warping<Real>&);
template <typename W>
using Number = decltype(real_of(std::declval<W>()));

}  // namespace

void bind_warping(nb::module_& module) {
  nb::class_<AnyWarping>(module, "Warping")
      .def("__init__", [](AnyWarping* self, bool is_double, Integer B, Integer N, Integer M, Address cost,
                          Address x, Address y, Integer D, int metric, Address lengths_x, Address lengths_y,
                          Address begin, Address end) {
        new (self) AnyWarping{};
        self->is_double = is_double;
        const auto fill = [&](auto& w) {
          using Real = Number<decltype(w)>;
          w.batch = B;
          w.rows = N;
          w.columns = M;
          w.cost = pointer<const Real>(cost);
          w.x = pointer<const Real>(x);
          w.y = pointer<const Real>(y);
          w.size = D;
          w.metric = static_cast<hmm::Metric>(metric);
          w.lengths_x = pointer<const Integer>(lengths_x);
          w.lengths_y = pointer<const Integer>(lengths_y);
          w.begin = pointer<const Integer>(begin);
          w.end = pointer<const Integer>(end);
        };
        is_double ? fill(self->twice) : fill(self->single);
      });
  module.def("dtw", [](const AnyWarping& any, int pattern, int threads, Address distance, Address path,
                       Address path_length) {
    any.visit([&](const auto& w, const auto& kernels) {
      using Real = Number<decltype(w)>;
      kernels.dtw(w, static_cast<hmm::StepPattern>(pattern), hmm::ThreadPool::executor(threads),
                  pointer<Real>(distance), pointer<Integer>(path), pointer<Integer>(path_length));
    });
  });
  module.def("soft_dtw",
             [](const AnyWarping& any, double gamma, int threads, Address value, Address message) {
               any.visit([&](const auto& w, const auto& kernels) {
                 using Real = Number<decltype(w)>;
                 kernels.soft_dtw(w, gamma, hmm::ThreadPool::executor(threads), pointer<Real>(value),
                                  pointer<Real>(message));
               });
             });
  module.def("soft_dtw_backward", [](const AnyWarping& any, double gamma, int threads, Address factor,
                                     Address message, Address gradient) {
    any.visit([&](const auto& w, const auto& kernels) {
      using Real = Number<decltype(w)>;
      prefer_large_pages(gradient, w.batch * w.rows * w.columns * static_cast<Integer>(sizeof(Real)));
      kernels.soft_dtw_backward(w, gamma, hmm::ThreadPool::executor(threads), pointer<const Real>(factor),
                                pointer<Real>(message), pointer<Real>(gradient));
    });
  });
  module.def("soft_dtw_message_size", [](bool is_double, Integer N, Integer M) {
    const hmm::WarpingKernels& kernels = hmm::warping_kernels();
    return is_double ? kernels.twice.soft_dtw_message_size(N, M) : kernels.single.soft_dtw_message_size(N, M);
  });
  module.def("soft_dtw_frames",
             [](const AnyWarping& any, double gamma, int threads, Address value, Address by_x, Address by_y) {
               any.visit([&](const auto& w, const auto& kernels) {
                 using Real = Number<decltype(w)>;
                 kernels.soft_dtw_frames(w, gamma, hmm::ThreadPool::executor(threads), pointer<Real>(value),
                                         pointer<Real>(by_x), pointer<Real>(by_y));
               });
             });
  module.def("frame_cost", [](const AnyWarping& any, int threads, Address cost) {
    any.visit([&](const auto& w, const auto& kernels) {
      using Real = Number<decltype(w)>;
      prefer_large_pages(cost, w.batch * w.rows * w.columns * static_cast<Integer>(sizeof(Real)));
      kernels.frame_cost(w, hmm::ThreadPool::executor(threads), pointer<Real>(cost));
    });
  });
}
