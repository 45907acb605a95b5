#include "../kernels/semi_markov.hpp"

#include "common.hpp"

namespace {

// Calls work(kernels, model, executor) for a model of either precision.
template <typename Work>
void run(const AnyModel& any, std::int64_t longest, std::int64_t kinds, Address log_duration,
         std::int64_t duration_stride, int threads, Work&& work) {
  any.visit([&](const auto& base) {
    using Real = RealOf<decltype(base)>;
    hmm::SemiMarkovModel<Real> model;
    model.hmm = base;
    model.longest = longest;
    model.kinds = kinds;
    model.log_duration = pointer<const Real>(log_duration);
    model.duration_stride = duration_stride;
    work(hmm::semi_markov_kernels().of(Real{}), model, hmm::ThreadPool::executor(threads));
  });
}

template <typename Real>
Real real_of(const hmm::SemiMarkovModel<Real>&);

}  // namespace

void bind_semi_markov(nb::module_& module) {
  module.def("semi_markov_log_likelihood",
             [](const AnyModel& any, std::int64_t longest, std::int64_t kinds, Address log_duration,
                std::int64_t duration_stride, int threads, Address log_likelihood) {
               run(any, longest, kinds, log_duration, duration_stride, threads,
                   [&](const auto& kernels, const auto& model, const hmm::Executor& executor) {
                     using Real = decltype(real_of(model));
                     kernels.log_likelihood(model, executor, pointer<Real>(log_likelihood));
                   });
             });
  module.def("semi_markov_posterior", [](const AnyModel& any, std::int64_t longest, std::int64_t kinds,
                                         Address log_duration, std::int64_t duration_stride, int threads,
                                         Address log_likelihood, Address state, Address initial,
                                         Address transition, Address duration, Address final) {
    run(any, longest, kinds, log_duration, duration_stride, threads,
        [&](const auto& kernels, const auto& model, const hmm::Executor& executor) {
          using Real = decltype(real_of(model));
          kernels.posterior(model, executor,
                            {pointer<Real>(log_likelihood), pointer<Real>(state), pointer<Real>(initial),
                             pointer<Real>(transition), pointer<Real>(duration), pointer<Real>(final)});
        });
  });
  module.def("semi_markov_viterbi", [](const AnyModel& any, std::int64_t longest, std::int64_t kinds,
                                       Address log_duration, std::int64_t duration_stride, int threads,
                                       Address states, Address durations) {
    run(any, longest, kinds, log_duration, duration_stride, threads,
        [&](const auto& kernels, const auto& model, const hmm::Executor& executor) {
          kernels.viterbi(model, executor, pointer<std::int64_t>(states), pointer<std::int64_t>(durations));
        });
  });
  module.def("semi_markov_sample",
             [](const AnyModel& any, std::int64_t longest, std::int64_t kinds, Address log_duration,
                std::int64_t duration_stride, int threads, std::int64_t samples, Address uniform,
                Address states, Address durations) {
               run(any, longest, kinds, log_duration, duration_stride, threads,
                   [&](const auto& kernels, const auto& model, const hmm::Executor& executor) {
                     kernels.sample(model, executor, samples, pointer<const double>(uniform),
                                    pointer<std::int64_t>(states), pointer<std::int64_t>(durations));
                   });
             });
}
