// The best path of small random models, against the enumeration of all.
#include "hmm/viterbi.hpp"

#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void is_the_best_of_all(const RandomModel<Real>& example, hmm::ViterbiMemory memory) {
  const hmm::Model<Real>& model = example.model;
  const std::int64_t B = model.batch, T = model.frames;
  std::vector<std::int64_t> found(static_cast<std::size_t>(B * T), -9);
  std::vector<Real> score(static_cast<std::size_t>(B), 9);
  const hmm::Fault fault =
      hmm::viterbi(model, hmm::ThreadPool::executor(2), memory, found.data(), score.data());
  CHECK(fault.kind == hmm::Fault::kNone);
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t n = example.lengths[static_cast<std::size_t>(b)];
    long double best = -INFINITY;
    example.each_path(b, [&](const auto&, long double s) { best = s > best ? s : best; });
    const std::int64_t* path = found.data() + b * T;
    for (std::int64_t t = 0; t < T; ++t) {
      const bool somewhere = t < n && best > -INFINITY;
      CHECK(somewhere ? path[t] >= 0 && path[t] < model.states : path[t] == -1);
    }
    const long double tolerance = 100 * std::numeric_limits<Real>::epsilon();
    CHECK_CLOSE(score[static_cast<std::size_t>(b)], best, tolerance);
    if (n > 0 && best > -INFINITY) CHECK_CLOSE(example.score(b, path), best, tolerance);
  }
}

template <typename Real>
void all() {
  Random random;
  const int shapes[][2] = {{1, 1}, {1, 4}, {2, 5}, {3, 5}, {5, 4}, {3, 0}, {4, 1}, {9, 2}, {17, 2}, {33, 2}};
  for (int form = 0; form < 16; ++form)
    for (const auto& [states, frames] : shapes) {
      const RandomModel<Real> example(random, 3, frames, states, form & 8, form & 1, form & 2, form & 4);
      is_the_best_of_all(example, hmm::ViterbiMemory::kFull);
      is_the_best_of_all(example, hmm::ViterbiMemory::kLinear);
    }
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
