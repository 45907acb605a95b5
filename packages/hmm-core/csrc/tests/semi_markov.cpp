// With durations of one frame, segments are frames and the model is an ordinary one.
#include "hmm/semi_markov.hpp"

#include "hmm/semi_markov_sample.hpp"
#include "hmm/semi_markov_viterbi.hpp"
#include "hmm/thread_pool.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void one_frame_segments_are_frames(Random& random, const RandomModel<Real>& example) {
  const hmm::Model<Real>& m = example.model;
  const std::int64_t B = m.batch, T = m.frames, K = m.states;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  // Two durations, of which the second is impossible.
  std::vector<Real> log_duration;
  for (std::int64_t k = 0; k < K; ++k) {
    log_duration.push_back(0);
    log_duration.push_back(-std::numeric_limits<Real>::infinity());
  }
  hmm::SemiMarkovModel<Real> model;
  model.hmm = m;
  model.longest = 2;
  model.log_duration = log_duration.data();
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  const long double tolerance = 500 * std::numeric_limits<Real>::epsilon();

  std::vector<Real> likelihood(size(B), 9), state(size(B * T * K), 9), initial(size(B * K), 9),
      final(size(B * K), 9);
  std::vector<Real> transition(size(B * m.weights()), 9), duration(size(B * K * 2), 9), total(size(B), 9);
  hmm::semi_markov_log_likelihood(model, executor, likelihood.data());
  hmm::semi_markov_posterior(model, executor,
                             hmm::SemiMarkovCounts<Real>{total.data(), state.data(), initial.data(),
                                                         transition.data(), duration.data(), final.data()});
  std::vector<std::int64_t> states(size(B * T), -9), lengths(size(B * T), -9), drawn(size(B * T), -9);
  hmm::semi_markov_viterbi(model, executor, states.data(), lengths.data());
  std::vector<double> uniform;
  for (std::int64_t i = 0; i < B * T * 2; ++i) uniform.push_back(random.uniform());
  std::vector<std::int64_t> drawn_lengths(size(B * T), -9);
  hmm::semi_markov_sample(model, executor, 1, uniform.data(), drawn.data(), drawn_lengths.data());

  for (std::int64_t b = 0; b < B; ++b) {
    long double sum = 0, best = -INFINITY;
    std::vector<long double> share(size(T * K), 0);
    example.each_path(b, [&](const std::vector<std::int64_t>& path, long double s) {
      sum += std::exp(s);
      best = s > best ? s : best;
      for (std::size_t t = 0; t < path.size(); ++t) share[t * size(K) + size(path[t])] += std::exp(s);
    });
    const std::int64_t n = sum > 0 ? example.lengths[size(b)] : 0;
    CHECK_CLOSE(likelihood[size(b)], std::log(sum), tolerance);
    CHECK_CLOSE(total[size(b)], std::log(sum), tolerance);
    for (std::int64_t i = 0; i < T * K; ++i)
      CHECK_CLOSE(state[size(b * T * K + i)], sum > 0 ? share[size(i)] / sum : 0, tolerance);
    for (std::int64_t t = b * T; t < b * T + T; ++t) {
      CHECK(t - b * T < n ? states[size(t)] >= 0 && lengths[size(t)] == 1 : states[size(t)] == -1);
      CHECK(t - b * T < n ? drawn[size(t)] >= 0 && drawn_lengths[size(t)] == 1 : drawn[size(t)] == -1);
    }
    if (n == 0) continue;
    CHECK_CLOSE(example.score(b, states.data() + b * T), best, tolerance);
    CHECK(example.score(b, drawn.data() + b * T) > -INFINITY);
  }
}

template <typename Real>
void all() {
  Random random;
  const int shapes[][2] = {{1, 1}, {1, 3}, {2, 5}, {3, 5}, {5, 4}, {3, 0}, {4, 1}, {9, 2}, {17, 2}};
  for (int form = 0; form < 8; ++form)
    for (const auto& [states, frames] : shapes)
      one_frame_segments_are_frames<Real>(
          random, RandomModel<Real>(random, 3, frames, states, form & 1, form & 2, false, form & 4));
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
