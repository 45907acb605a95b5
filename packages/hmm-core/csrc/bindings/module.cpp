// Python module hmm_core.backends.cpu._cpu.
#include <string>

#include "../kernels/dispatch.hpp"
#include "../kernels/fault.hpp"
#include "common.hpp"

namespace {

using Integer = std::int64_t;

// An array that holds one table for all sequences, or one for each.
struct Table {
  Address address = 0;
  Integer size = 0;

  // Distance between the tables of two sequences, which have so many entries.
  Integer stride(Integer entries) const { return size > entries ? entries : 0; }
};

template <typename Real>
hmm::Model<Real> make_model(Integer B, Integer T, Integer K, Integer R, Integer P, Integer steps,
                            const Table& log_initial, const Table& predecessors, const Table& log_weight,
                            Address log_emission, Address lengths, const Table& log_final,
                            const Table& emission_index) {
  hmm::Model<Real> model;
  model.batch = B;
  model.frames = T;
  model.states = K;
  model.slots = R;
  model.densities = P;
  model.log_initial = pointer<const Real>(log_initial.address);
  model.predecessors = pointer<const Integer>(predecessors.address);
  model.log_weight = pointer<const Real>(log_weight.address);
  model.log_emission = pointer<const Real>(log_emission);
  model.lengths = pointer<const Integer>(lengths);
  model.log_final = pointer<const Real>(log_final.address);
  model.emission_index = pointer<const Integer>(emission_index.address);
  model.initial_stride = log_initial.stride(K);
  model.predecessor_stride = predecessors.stride(K * R);
  model.weight_stride = log_weight.stride(steps * model.weights());
  model.weight_step = steps > 1 ? model.weights() : 0;
  model.final_stride = log_final.stride(K);
  model.index_stride = emission_index.stride(K);
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
              Integer steps, Integer initial_size, Integer predecessors_size, Integer weight_size,
              Integer final_size, Integer index_size, Address log_initial, Address predecessors,
              Address log_weight, Address log_emission, Address lengths, Address log_final,
              Address emission_index) {
             new (self) AnyModel{};
             self->is_double = is_double;
             const auto fill = [&](auto& model) {
               using Real = RealOf<decltype(model)>;
               model = make_model<Real>(B, T, K, R, P, steps, {log_initial, initial_size},
                                        {predecessors, predecessors_size}, {log_weight, weight_size},
                                        log_emission, lengths, {log_final, final_size},
                                        {emission_index, index_size});
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

  bind_recursions(module);
  bind_viterbi(module);
  bind_sampling(module);
  bind_semi_markov(module);
  bind_online(module);
  bind_warping(module);
}
