#include "online.hpp"

#include "hmm/online.hpp"

namespace hmm {
namespace {

template <typename Real>
constexpr OnlineFunctions<Real> functions() {
  using Filter = OnlineFilter<Real>;
  using Viterbi = OnlineViterbi<Real>;
  return {
      [](const Model<Real>& model) -> void* { return new Filter(model); },
      [](void* filter) { delete static_cast<Filter*>(filter); },
      [](void* filter) { static_cast<Filter*>(filter)->reset(); },
      [](void* filter, const Real* log_filter, double log_likelihood, std::int64_t frames) {
        static_cast<Filter*>(filter)->restore(log_filter, log_likelihood, frames);
      },
      [](const void* filter, Real* log_filter) { static_cast<const Filter*>(filter)->save(log_filter); },
      [](void* filter, const Real* log_emission, std::int64_t n, std::int64_t width, Real* log_filter,
         double* log_likelihood) {
        return static_cast<Filter*>(filter)->push(log_emission, n, width, log_filter, log_likelihood);
      },
      [](const void* filter) { return static_cast<const Filter*>(filter)->log_likelihood(); },
      [](const void* filter) { return static_cast<const Filter*>(filter)->frames(); },

      [](const Model<Real>& model, std::int64_t longest_delay) -> void* {
        return new Viterbi(model, longest_delay);
      },
      [](void* viterbi) { delete static_cast<Viterbi*>(viterbi); },
      [](void* viterbi) { static_cast<Viterbi*>(viterbi)->reset(); },
      [](void* viterbi, const Real* log_emission, std::int64_t n, std::int64_t width, std::int64_t* best) {
        return static_cast<Viterbi*>(viterbi)->push(log_emission, n, width, best);
      },
      [](void* viterbi, std::int64_t* states) { static_cast<Viterbi*>(viterbi)->take(states); },
      [](void* viterbi, const Real* log_final, std::int64_t* states) {
        return static_cast<Viterbi*>(viterbi)->finish(log_final, states);
      },
      [](const void* viterbi) { return static_cast<const Viterbi*>(viterbi)->frames(); },
      [](const void* viterbi) { return static_cast<const Viterbi*>(viterbi)->committed(); },
      [](const void* viterbi) { return static_cast<const Viterbi*>(viterbi)->waiting(); },
      [](const void* viterbi) { return static_cast<const Viterbi*>(viterbi)->forced(); },
      [](const void* viterbi) { return static_cast<const Viterbi*>(viterbi)->log_score(); },
  };
}

}  // namespace

HMM_DEFINE_KERNELS(OnlineKernels, online_kernels) = {functions<float>(), functions<double>()};

}  // namespace hmm
