#include "../kernels/online.hpp"

#include <optional>

#include "common.hpp"

namespace {

using Integer = std::int64_t;

// Operations above which a step lets other Python threads run: a frame is done before they would have woken up,
// and waiting for the interpreter's lock afterwards may take milliseconds.
constexpr double kWorthReleasing = 1e6;

double operations(const AnyModel& any, Integer frames) {
  const auto arcs = [](const auto& model) {
    return static_cast<double>(model.states) * static_cast<double>(model.dense() ? model.states : model.slots);
  };
  return static_cast<double>(frames) * (any.is_double ? arcs(any.twice) : arcs(any.single));
}

template <typename Work>
auto run(const AnyModel& any, Integer frames, Work&& work) {
  std::optional<nb::gil_scoped_release> released;
  if (operations(any, frames) > kWorthReleasing) released.emplace();
  return work();
}

// An object of the variant of the kernels that was in use when it was made.
template <typename Real>
const hmm::OnlineFunctions<Real>& functions() {
  return hmm::online_kernels().of(Real{});
}

class Filter {
 public:
  explicit Filter(const AnyModel& model) : model_(model) {
    if (model.is_double) {
      twice_ = &functions<double>();
      filter_ = twice_->make_filter(model.twice);
    } else {
      single_ = &functions<float>();
      filter_ = single_->make_filter(model.single);
    }
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() {
    model_.is_double ? twice_->delete_filter(filter_) : single_->delete_filter(filter_);
  }

  bool push(Address log_emission, Integer n, Integer width, Address log_filter, Address log_likelihood) {
    return run(model_, n, [&] {
      return model_.is_double
                 ? twice_->push_filter(filter_, pointer<const double>(log_emission), n, width,
                                       pointer<double>(log_filter), pointer<double>(log_likelihood))
                 : single_->push_filter(filter_, pointer<const float>(log_emission), n, width,
                                        pointer<float>(log_filter), pointer<double>(log_likelihood));
    });
  }
  void reset() { model_.is_double ? twice_->reset_filter(filter_) : single_->reset_filter(filter_); }
  void restore(Address log_filter, double log_likelihood, Integer frames) {
    if (model_.is_double) {
      twice_->restore_filter(filter_, pointer<const double>(log_filter), log_likelihood, frames);
    } else {
      single_->restore_filter(filter_, pointer<const float>(log_filter), log_likelihood, frames);
    }
  }
  double log_likelihood() const {
    return model_.is_double ? twice_->log_likelihood(filter_) : single_->log_likelihood(filter_);
  }
  Integer frames() const {
    return model_.is_double ? twice_->filter_frames(filter_) : single_->filter_frames(filter_);
  }

 private:
  AnyModel model_;
  const hmm::OnlineFunctions<float>* single_ = nullptr;
  const hmm::OnlineFunctions<double>* twice_ = nullptr;
  void* filter_ = nullptr;
};

class Viterbi {
 public:
  Viterbi(const AnyModel& model, Integer longest_delay) : model_(model) {
    if (model.is_double) {
      twice_ = &functions<double>();
      viterbi_ = twice_->make_viterbi(model.twice, longest_delay);
    } else {
      single_ = &functions<float>();
      viterbi_ = single_->make_viterbi(model.single, longest_delay);
    }
  }
  Viterbi(const Viterbi&) = delete;
  Viterbi& operator=(const Viterbi&) = delete;
  ~Viterbi() {
    visit([&](const auto& f) { f.delete_viterbi(viterbi_); });
  }

  bool push(Address log_emission, Integer n, Integer width, Address best) {
    return run(model_, n, [&] {
      return model_.is_double ? twice_->push_viterbi(viterbi_, pointer<const double>(log_emission), n, width,
                                                     pointer<Integer>(best))
                              : single_->push_viterbi(viterbi_, pointer<const float>(log_emission), n, width,
                                                      pointer<Integer>(best));
    });
  }
  double finish(Address log_final, Address states) {
    return model_.is_double
               ? twice_->finish(viterbi_, pointer<const double>(log_final), pointer<Integer>(states))
               : single_->finish(viterbi_, pointer<const float>(log_final), pointer<Integer>(states));
  }
  void reset() {
    visit([&](const auto& f) { f.reset_viterbi(viterbi_); });
  }
  void take(Address states) {
    visit([&](const auto& f) { f.take(viterbi_, pointer<Integer>(states)); });
  }
  Integer frames() const {
    return visit([&](const auto& f) { return f.viterbi_frames(viterbi_); });
  }
  Integer committed() const {
    return visit([&](const auto& f) { return f.committed(viterbi_); });
  }
  Integer waiting() const {
    return visit([&](const auto& f) { return f.waiting(viterbi_); });
  }
  Integer forced() const {
    return visit([&](const auto& f) { return f.forced(viterbi_); });
  }
  double log_score() const {
    return visit([&](const auto& f) { return f.log_score(viterbi_); });
  }

 private:
  template <typename Work>
  auto visit(Work&& work) const {
    return model_.is_double ? work(*twice_) : work(*single_);
  }

  AnyModel model_;
  const hmm::OnlineFunctions<float>* single_ = nullptr;
  const hmm::OnlineFunctions<double>* twice_ = nullptr;
  void* viterbi_ = nullptr;
};

}  // namespace

void bind_online(nb::module_& module) {
  nb::class_<Filter>(module, "OnlineFilter")
      .def(nb::init<const AnyModel&>())
      .def("push", &Filter::push)
      .def("reset", &Filter::reset)
      .def("restore", &Filter::restore)
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
