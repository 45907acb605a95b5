// The best path of small random models, against the enumeration of all.
#include "hmm/viterbi.hpp"

#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void is_the_best_of_all(Random& random, int batch, int frames, int states, bool own_tables, bool varying,
                        bool shared_densities) {
  const RandomModel<Real> example(random, batch, frames, states, true, own_tables, varying, shared_densities);
  const hmm::Model<Real>& model = example.model;
  std::vector<std::int64_t> found(static_cast<std::size_t>(batch * frames), -9);
  hmm::viterbi(model, hmm::ThreadPool::executor(2), found.data());
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t n = example.lengths[static_cast<std::size_t>(b)];
    long double best = -INFINITY;
    example.each_path(b,
                      [&](const std::vector<std::int64_t>&, long double s) { best = s > best ? s : best; });
    const std::int64_t* path = found.data() + b * frames;
    for (std::int64_t t = 0; t < frames; ++t) {
      const bool somewhere = t < n && best > -INFINITY;
      CHECK(somewhere ? path[t] >= 0 && path[t] < states : path[t] == -1);
    }
    if (n > 0 && best > -INFINITY)
      CHECK_CLOSE(example.score(b, path), best, 20 * frames * std::numeric_limits<Real>::epsilon());
  }
}

template <typename Real>
void all() {
  Random random;
  for (int round = 0; round < 8; ++round)
    for (const int states : {1, 2, 3, 5})
      for (const int frames : {0, 1, 2, 4})
        for (const bool own_tables : {false, true})
          is_the_best_of_all<Real>(random, 3, frames, states, own_tables, round % 2 == 1, round % 4 < 2);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
