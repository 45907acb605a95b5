#include "../kernels/online.hpp"

#include <optional>

#include "common.hpp"

namespace {

using Integer = std::int64_t;

// Operations above which a step lets other Python threads run: a frame is done before they would have woken
// up, and waiting for the interpreter's lock afterwards may take milliseconds.
constexpr double kWorthReleasing = 1e6;

double operations(const AnyModel& any, Integer frames) {
  const auto arcs = [](const auto& model) {
    return static_cast<double>(model.states) *
           static_cast<double>(model.dense() ? model.states : model.slots);
  };
  return static_cast<double>(frames) * (any.is_double ? arcs(any.twice) : arcs(any.single));
}

template <typename Work>
auto run(const AnyModel& any, Integer frames, Work&& work) {
  std::optional<nb::gil_scoped_release> released;
  if (operations(any, frames) > kWorthReleasing) released.emplace();
  return work();
}

// An object of the engine, and the variant of the kernels that was in use when it was made.
class Online {
 public:
  explicit Online(const AnyModel& model)
      : model_(model),
        single_(hmm::online_kernels().of(float{})),
        twice_(hmm::online_kernels().of(double{})) {}
  Online(const Online&) = delete;
  Online& operator=(const Online&) = delete;

 protected:
  ~Online() = default;

  // work(functions, model) for the precision of this object.
  template <typename Work>
  auto visit(Work&& work) const {
    return model_.is_double ? work(twice_, model_.twice) : work(single_, model_.single);
  }

  void* object_ = nullptr;
  AnyModel model_;

 private:
  const hmm::OnlineFunctions<float>& single_;
  const hmm::OnlineFunctions<double>& twice_;
};

class Filter : public Online {
 public:
  explicit Filter(const AnyModel& any) : Online(any) {
    object_ = visit([](const auto& f, const auto& model) { return f.make_filter(model); });
  }
  ~Filter() {
    visit([&](const auto& f, const auto&) { f.delete_filter(object_); });
  }

  bool push(Address log_emission, Integer n, Integer width, Address log_filter, Address log_likelihood) {
    return run(model_, n, [&] {
      return visit([&](const auto& f, const auto& model) {
        using Real = RealOf<decltype(model)>;
        return f.push_filter(object_, pointer<const Real>(log_emission), n, width, pointer<Real>(log_filter),
                             pointer<double>(log_likelihood));
      });
    });
  }
  void reset() {
    visit([&](const auto& f, const auto&) { f.reset_filter(object_); });
  }
  void restore(Address log_filter, double log_likelihood, Integer frames) {
    visit([&](const auto& f, const auto& model) {
      using Real = RealOf<decltype(model)>;
      f.restore_filter(object_, pointer<const Real>(log_filter), log_likelihood, frames);
    });
  }
  void save(Address log_filter) const {
    visit([&](const auto& f, const auto& model) {
      using Real = RealOf<decltype(model)>;
      f.save_filter(object_, pointer<Real>(log_filter));
    });
  }
  double log_likelihood() const {
    return visit([&](const auto& f, const auto&) { return f.log_likelihood(object_); });
  }
  Integer frames() const {
    return visit([&](const auto& f, const auto&) { return f.filter_frames(object_); });
  }
};

class Viterbi : public Online {
 public:
  Viterbi(const AnyModel& any, Integer longest_delay) : Online(any) {
    object_ = visit([&](const auto& f, const auto& model) { return f.make_viterbi(model, longest_delay); });
  }
  ~Viterbi() {
    visit([&](const auto& f, const auto&) { f.delete_viterbi(object_); });
  }

  bool push(Address log_emission, Integer n, Integer width, Address best) {
    return run(model_, n, [&] {
      return visit([&](const auto& f, const auto& model) {
        using Real = RealOf<decltype(model)>;
        return f.push_viterbi(object_, pointer<const Real>(log_emission), n, width, pointer<Integer>(best));
      });
    });
  }
  double finish(Address log_final, Address states) {
    return visit([&](const auto& f, const auto& model) {
      using Real = RealOf<decltype(model)>;
      return f.finish(object_, pointer<const Real>(log_final), pointer<Integer>(states));
    });
  }
  void reset() {
    visit([&](const auto& f, const auto&) { f.reset_viterbi(object_); });
  }
  void take(Address states) {
    visit([&](const auto& f, const auto&) { f.take(object_, pointer<Integer>(states)); });
  }
  Integer frames() const {
    return visit([&](const auto& f, const auto&) { return f.viterbi_frames(object_); });
  }
  Integer committed() const {
    return visit([&](const auto& f, const auto&) { return f.committed(object_); });
  }
  Integer waiting() const {
    return visit([&](const auto& f, const auto&) { return f.waiting(object_); });
  }
  Integer forced() const {
    return visit([&](const auto& f, const auto&) { return f.forced(object_); });
  }
  double log_score() const {
    return visit([&](const auto& f, const auto&) { return f.log_score(object_); });
  }
};

}  // namespace

void bind_online(nb::module_& module) {
  nb::class_<Filter>(module, "OnlineFilter")
      .def(nb::init<const AnyModel&>())
      .def("push", &Filter::push)
      .def("reset", &Filter::reset)
      .def("restore", &Filter::restore)
      .def("save", &Filter::save)
      .def_prop_ro("log_likelihood", &Filter::log_likelihood)
      .def_prop_ro("num_frames", &Filter::frames);
  nb::class_<Viterbi>(module, "OnlineViterbi")
      .def(nb::init<const AnyModel&, Integer>())
      .def("push", &Viterbi::push)
      .def("reset", &Viterbi::reset)
      .def("take", &Viterbi::take)
      .def("finish", &Viterbi::finish)
      .def_prop_ro("num_frames", &Viterbi::frames)
      .def_prop_ro("num_committed", &Viterbi::committed)
      .def_prop_ro("num_waiting", &Viterbi::waiting)
      .def_prop_ro("num_forced", &Viterbi::forced)
      .def_prop_ro("log_score", &Viterbi::log_score);
}
