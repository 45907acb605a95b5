// A stream gives what the whole sequence gives: the filter its likelihood, the decoder its best path.
#include "hmm/online.hpp"

#include "hmm/thread_pool.hpp"
#include "hmm/viterbi.hpp"
#include "random_model.hpp"

namespace {

template <typename Real>
void streams_are_read_as_whole_sequences(Random& random, int frames, int states, bool sparse, bool shared) {
  RandomModel<Real> example(random, 1, frames, states, sparse, false, false, shared);
  const hmm::Model<Real>& m = example.model;
  const std::int64_t T = m.frames, P = m.densities;
  std::vector<std::int64_t> whole(static_cast<std::size_t>(T), -9), best(whole), streamed(whole);
  Real score = 9;
  hmm::viterbi(m, hmm::ThreadPool::executor(1), hmm::ViterbiMemory::kFull, whole.data(), &score);

  hmm::OnlineViterbi<Real> decoder(m, -1);
  std::int64_t taken = 0;
  for (std::int64_t t = 0; t < T; ++t) {
    CHECK(decoder.push(m.log_emission + t * P, 1, P, best.data() + t));
    const std::int64_t waiting = decoder.waiting();
    decoder.take(streamed.data() + taken);
    taken += waiting;
  }
  CHECK_CLOSE(decoder.finish(m.log_final, streamed.data() + taken), score,
              100 * std::numeric_limits<Real>::epsilon());
  if (score > -INFINITY) CHECK(streamed == whole);

  // Sequences may end anywhere for a filter.
  for (Real& value : example.log_final) value = 0;
  long double total = 0;
  example.each_path(0, [&](const auto&, long double s) { total += std::exp(s); });
  hmm::OnlineFilter<Real> filter(m);
  std::vector<Real> log_filter(static_cast<std::size_t>(T * m.states));
  const std::int64_t first = T / 2;
  CHECK(filter.push(m.log_emission, first, P, log_filter.data(), nullptr));
  CHECK(filter.push(m.log_emission + first * P, T - first, P, log_filter.data() + first * m.states, nullptr));
  CHECK(filter.frames() == T);
  CHECK_CLOSE(filter.log_likelihood(), std::log(total), 500 * std::numeric_limits<Real>::epsilon());
}

template <typename Real>
void all() {
  Random random;
  const int shapes[][2] = {{1, 1}, {1, 4}, {2, 5}, {3, 5}, {5, 4}, {4, 1}, {9, 2}, {17, 2}};
  for (int form = 0; form < 16; ++form)
    for (const auto& [states, frames] : shapes)
      streams_are_read_as_whole_sequences<Real>(random, frames, states, form & 1, form & 2);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
