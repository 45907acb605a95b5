// The best paths of small random models, in order, against the enumeration of all.
#include "hmm/kbest.hpp"

#include <algorithm>

#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void are_the_best_of_all(const RandomModel<Real>& example, std::int64_t N) {
  const hmm::Model<Real>& model = example.model;
  const std::int64_t B = model.batch, T = model.frames;
  std::vector<std::int64_t> found(static_cast<std::size_t>(N * B * T), -9);
  std::vector<Real> score(static_cast<std::size_t>(N * B), 9);
  hmm::kbest(model, hmm::ThreadPool::executor(2), N, found.data(), score.data());
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t length = example.lengths[static_cast<std::size_t>(b)];
    std::vector<long double> all;
    example.each_path(b, [&](const auto&, long double s) { all.push_back(s); });
    std::sort(all.begin(), all.end(), [](long double x, long double y) { return x > y; });
    std::vector<std::vector<std::int64_t>> seen;
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t* path = found.data() + (n * B + b) * T;
      const bool exists = n < static_cast<std::int64_t>(all.size());
      const long double tolerance = 100 * std::numeric_limits<Real>::epsilon();
      const long double best = exists ? all[static_cast<std::size_t>(n)] : -INFINITY;
      CHECK_CLOSE(score[static_cast<std::size_t>(n * B + b)], best, tolerance);
      for (std::int64_t t = 0; t < T; ++t) CHECK(exists && t < length ? path[t] >= 0 : path[t] == -1);
      if (!exists || length == 0) continue;
      CHECK_CLOSE(example.score(b, path), best, tolerance);
      seen.emplace_back(path, path + length);
      CHECK(std::find(seen.begin(), seen.end() - 1, seen.back()) == seen.end() - 1);
    }
  }
}

template <typename Real>
void all() {
  Random random;
  const int shapes[][2] = {{1, 1}, {1, 4}, {2, 5}, {3, 4}, {3, 0}, {4, 1}};
  for (int form = 0; form < 16; ++form)
    for (const auto& [states, frames] : shapes)
      for (const std::int64_t N : {1, 3, 20})
        are_the_best_of_all(
            RandomModel<Real>(random, 3, frames, states, form & 8, form & 1, form & 2, form & 4), N);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
