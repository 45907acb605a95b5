// Entropies and sampled paths of small random models, against the enumeration of all paths.
#include <map>

#include "hmm/entropy.hpp"
#include "hmm/sample.hpp"
#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

using Path = std::vector<std::int64_t>;

template <typename Real>
void follow_the_paths(Random& random, int frames, int states, bool sparse, bool own_tables, bool varying,
                      bool shared_densities) {
  constexpr int kBatch = 3;
  constexpr int kSamples = 400;
  const RandomModel<Real> example(random, kBatch, frames, states, sparse, own_tables, varying,
                                  shared_densities);
  const hmm::Model<Real>& model = example.model;
  const std::size_t size = static_cast<std::size_t>(kBatch * frames);
  std::vector<double> uniform(kSamples * size);
  for (double& u : uniform) u = random.uniform();
  Path drawn(uniform.size(), -9);
  hmm::sample(model, hmm::ThreadPool::executor(2), kSamples, uniform.data(), drawn.data());
  std::vector<Real> entropy(kBatch, -9);
  hmm::entropy(model, hmm::ThreadPool::executor(2), entropy.data());

  for (int b = 0; b < kBatch; ++b) {
    const std::int64_t n = example.lengths[static_cast<std::size_t>(b)];
    std::map<Path, long double> probability;
    long double total = 0;
    example.each_path(b, [&](const Path&, long double score) { total += std::exp(score); });
    long double expected = 0;
    example.each_path(b, [&](const Path& path, long double score) {
      const long double p = std::exp(score) / total;
      probability[path] = p;
      expected -= p * std::log(p);
    });
    CHECK_CLOSE(entropy[static_cast<std::size_t>(b)], total > 0 ? expected : 0,
                20 * frames * std::numeric_limits<Real>::epsilon());
    std::map<Path, int> count;
    for (int s = 0; s < kSamples; ++s) {
      const std::int64_t* path = drawn.data() + static_cast<std::size_t>(s) * size + b * frames;
      for (std::int64_t t = 0; t < frames; ++t) CHECK((path[t] >= 0) == (t < n && total > 0));
      if (n > 0 && total > 0) ++count[Path(path, path + n)];
    }
    for (const auto& [path, times] : count) {
      CHECK(probability.count(path) == 1);
      // Six standard deviations, and one draw where the expectation is near none.
      const long double p = probability[path];
      CHECK_CLOSE(times, kSamples * p, 6 * std::sqrt(kSamples * p * (1 - p)) + 1);
    }
  }
}

template <typename Real>
void all() {
  Random random;
  for (int round = 0; round < 4; ++round)
    for (const int states : {1, 2, 3, 5})
      for (const int frames : {0, 1, 2, 4})
        for (const bool sparse : {false, true})
          follow_the_paths<Real>(random, frames, states, sparse, round % 2 == 1, round >= 2, round % 3 == 1);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
