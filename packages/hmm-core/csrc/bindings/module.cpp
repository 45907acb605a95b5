// Python module hmm_core.backends.cpu._cpu.
#include <string>

#include "../kernels/dispatch.hpp"
#include "../kernels/fault.hpp"
#include "common.hpp"

namespace {

using Integer = std::int64_t;

template <typename Real>
hmm::Model<Real> make_model(Integer B, Integer T, Integer K, Integer R, Integer P, Address log_initial,
                            Address predecessors, Address log_weight, Address log_emission, Address lengths,
                            Address log_final, Address emission_index, Integer initial_stride,
                            Integer predecessor_stride, Integer weight_stride, Integer weight_step,
                            Integer final_stride, Integer index_stride) {
  hmm::Model<Real> model;
  model.batch = B;
  model.frames = T;
  model.states = K;
  model.slots = R;
  model.densities = P;
  model.log_initial = pointer<const Real>(log_initial);
  model.predecessors = pointer<const Integer>(predecessors);
  model.log_weight = pointer<const Real>(log_weight);
  model.log_emission = pointer<const Real>(log_emission);
  model.lengths = pointer<const Integer>(lengths);
  model.log_final = pointer<const Real>(log_final);
  model.emission_index = pointer<const Integer>(emission_index);
  model.initial_stride = initial_stride;
  model.predecessor_stride = predecessor_stride;
  model.weight_stride = weight_stride;
  model.weight_step = weight_step;
  model.final_stride = final_stride;
  model.index_stride = index_stride;
  return model;
}

const char* name_of(hmm::Target target) {
  switch (target) {
    case hmm::Target::kV2:
      return "x86-64-v2";
    case hmm::Target::kV3:
      return "x86-64-v3";
    case hmm::Target::kV4:
      return "x86-64-v4";
    default:
      return "native";
  }
}

constexpr hmm::Target kTargets[] = {hmm::Target::kNative, hmm::Target::kV2, hmm::Target::kV3,
                                    hmm::Target::kV4};

}  // namespace

NB_MODULE(_cpu, module) {
  // A stream may well be alive when the interpreter exits; that is no leak to warn of.
  nb::set_leak_warnings(false);

  nb::class_<AnyModel>(module, "Model")
      .def("__init__",
           [](AnyModel* self, bool is_double, Integer B, Integer T, Integer K, Integer R, Integer P,
              Address log_initial, Address predecessors, Address log_weight, Address log_emission,
              Address lengths, Address log_final, Address emission_index, Integer initial_stride,
              Integer predecessor_stride, Integer weight_stride, Integer weight_step, Integer final_stride,
              Integer index_stride) {
             new (self) AnyModel{};
             self->is_double = is_double;
             const auto fill = [&](auto& model) {
               using Real = RealOf<decltype(model)>;
               model =
                   make_model<Real>(B, T, K, R, P, log_initial, predecessors, log_weight, log_emission,
                                    lengths, log_final, emission_index, initial_stride, predecessor_stride,
                                    weight_stride, weight_step, final_stride, index_stride);
             };
             is_double ? fill(self->twice) : fill(self->single);
           })
      .def("fault", [](const AnyModel& self, int threads, bool emissions) {
        return static_cast<int>(self.visit([&](const auto& model) {
                                      using Real = RealOf<decltype(model)>;
                                      return hmm::fault_kernels().of(Real{})(
                                          model, hmm::ThreadPool::executor(threads), emissions);
                                    })
                                    .kind);
      });

  module.def("target", [] { return name_of(hmm::target()); });
  module.def("targets", [] {
    nb::list names;
    for (const hmm::Target target : kTargets) {
      if (hmm::usable(target)) names.append(name_of(target));
    }
    return names;
  });
  module.def("use_target", [](const char* name) {
    for (const hmm::Target target : kTargets) {
      if (std::string(name) == name_of(target)) return hmm::use(target);
    }
    return false;
  });

  bind_dense(module);
  bind_sparse(module);
  bind_viterbi(module);
  bind_sampling(module);
  bind_semi_markov(module);
  bind_online(module);
  bind_warping(module);
}
