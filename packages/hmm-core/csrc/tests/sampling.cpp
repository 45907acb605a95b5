// Paths drawn from small random models are possible, and entropies those of the enumeration.
#include "hmm/entropy.hpp"
#include "hmm/sample.hpp"
#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void draws_are_possible_and_entropy_is_right(Random& random, const RandomModel<Real>& example) {
  const hmm::Model<Real>& m = example.model;
  const std::int64_t B = m.batch, T = m.frames, S = 3;
  std::vector<double> uniform;
  for (std::int64_t i = 0; i < S * B * T; ++i) uniform.push_back(i % 7 == 0 ? 0.0 : random.uniform());
  std::vector<std::int64_t> drawn(uniform.size(), -9);
  std::vector<Real> entropy(static_cast<std::size_t>(B), 9);
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  hmm::sample(m, executor, S, uniform.data(), drawn.data());
  hmm::entropy(m, executor, entropy.data());
  for (std::int64_t b = 0; b < B; ++b) {
    long double total = 0, exact = 0;
    example.each_path(b, [&](const auto&, long double s) { total += std::exp(s); });
    example.each_path(b, [&](const auto&, long double s) {
      const long double share = std::exp(s) / total;
      if (share > 0) exact -= share * std::log(share);
    });
    CHECK_CLOSE(entropy[static_cast<std::size_t>(b)], exact, 200 * std::numeric_limits<Real>::epsilon());
    for (std::int64_t s = 0; s < S; ++s) {
      const std::int64_t* path = drawn.data() + (s * B + b) * T;
      const std::int64_t n = total > 0 ? example.lengths[static_cast<std::size_t>(b)] : 0;
      for (std::int64_t t = 0; t < T; ++t) CHECK(t < n ? path[t] >= 0 && path[t] < m.states : path[t] == -1);
      if (n > 0) CHECK(example.score(b, path) > -INFINITY);
    }
  }
}

template <typename Real>
void all() {
  Random random;
  const int shapes[][2] = {{1, 1}, {2, 4}, {3, 5}, {5, 4}, {3, 0}, {4, 1}, {9, 2}, {17, 2}};
  for (int form = 0; form < 16; ++form)
    for (const auto& [states, frames] : shapes)
      draws_are_possible_and_entropy_is_right<Real>(
          random, RandomModel<Real>(random, 3, frames, states, form & 8, form & 1, form & 2, form & 4));
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
