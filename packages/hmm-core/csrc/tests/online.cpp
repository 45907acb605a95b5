// A filter and a decoder of a stream, against the enumeration of the paths of what they have heard.
#include "hmm/online.hpp"

#include "random_model.hpp"

namespace {

// The first n frames of a sequence of which any path may end anywhere.
template <typename Real>
class Prefix {
 public:
  Prefix(RandomModel<Real>& example, std::int64_t n) : example_(example) {
    example.lengths[0] = n;
    for (Real& x : example.log_final) x = 0;
  }

  // log p(y[1..n], z[n] = state); of all states where state < 0.
  long double log_sum(std::int64_t state) const {
    long double sum = 0;
    example_.each_path(0, [&](const std::vector<std::int64_t>& path, long double score) {
      if (state < 0 || path.back() == state) sum += std::exp(score);
    });
    return std::log(sum);
  }
  long double best() const {
    long double best = -INFINITY;
    example_.each_path(
        0, [&](const std::vector<std::int64_t>&, long double score) { best = score > best ? score : best; });
    return best;
  }

 private:
  const RandomModel<Real>& example_;
};

template <typename Real>
void follows_the_paths(Random& random, int frames, int states, bool sparse, bool shared_densities,
                       std::int64_t longest_delay) {
  RandomModel<Real> example(random, 1, frames, states, sparse, false, false, shared_densities, 0.1);
  const hmm::Model<Real>& model = example.model;
  const std::int64_t width = model.densities;
  const Real tolerance = 40 * frames * std::numeric_limits<Real>::epsilon();
  hmm::OnlineFilter<Real> filter(model);
  hmm::OnlineViterbi<Real> decoder(model, longest_delay);
  std::vector<std::int64_t> path;
  for (std::int64_t t = 0; t < frames; ++t) {
    const Prefix<Real> prefix(example, t + 1);
    const Real* frame = model.log_emission + t * width;
    std::vector<Real> log_filter(static_cast<std::size_t>(states));
    double total = 0;
    CHECK(filter.push(frame, 1, width, log_filter.data(), &total));
    CHECK_CLOSE(total, prefix.log_sum(-1), tolerance);
    for (int j = 0; j < states; ++j) {
      const long double joint = prefix.log_sum(j);
      const long double expected = joint == -INFINITY ? joint : joint - prefix.log_sum(-1);
      CHECK_CLOSE(log_filter[static_cast<std::size_t>(j)], expected, tolerance);
    }
    std::int64_t best = -9;
    CHECK(decoder.push(frame, 1, width, &best));
    if (decoder.forced() == 0) CHECK_CLOSE(decoder.log_score(), prefix.best(), tolerance);
    CHECK((best >= 0) == (decoder.log_score() > -INFINITY));
    if (longest_delay >= 0 && best >= 0) CHECK(decoder.frames() - decoder.committed() <= longest_delay);
    path.resize(path.size() + static_cast<std::size_t>(decoder.waiting()));
    decoder.take(path.data() + path.size() - decoder.waiting());
  }
  const std::int64_t open = decoder.frames() - decoder.committed();
  const long double best = Prefix<Real>(example, frames).best();
  const bool exact = decoder.forced() == 0;
  path.resize(path.size() + static_cast<std::size_t>(open));
  const double score = decoder.finish(nullptr, path.data() + path.size() - open);
  CHECK(path.size() == static_cast<std::size_t>(frames));
  if (exact) CHECK_CLOSE(score, best, tolerance);
  if (score > -INFINITY) CHECK_CLOSE(example.score(0, path.data()), score, tolerance);
}

// Two paths that never meet keep every frame open, and all of the room for them has to grow.
template <typename Real>
void keeps_what_is_open() {
  constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
  const Real initial[] = {0, 0}, weight[] = {0, kNothing, kNothing, 0}, last[] = {-1, 0}, even[] = {0, 0};
  hmm::Model<Real> model;
  model.states = model.densities = 2;
  model.log_initial = initial;
  model.log_weight = weight;
  hmm::OnlineViterbi<Real> decoder(model, -1);
  constexpr std::int64_t kFrames = 1000;
  for (int round = 0; round < 2; ++round) {
    std::int64_t best = -9;
    for (std::int64_t t = 0; t + 1 < kFrames; ++t) {
      CHECK(decoder.push(even, 1, 2, &best) && best == 0);
      CHECK(decoder.committed() == 0);
    }
    CHECK(decoder.push(last, 1, 2, &best) && best == 1);
    std::vector<std::int64_t> path(kFrames, -9);
    CHECK(decoder.finish(nullptr, path.data()) == 0);
    for (const std::int64_t state : path) CHECK(state == 1);
  }
  const Real wrong[] = {0, std::numeric_limits<Real>::quiet_NaN()};
  std::int64_t best = -9;
  CHECK(!decoder.push(wrong, 1, 2, &best) && best == -9 && decoder.frames() == 0);
}

template <typename Real>
void all() {
  Random random;
  for (int round = 0; round < 6; ++round)
    for (const int states : {1, 2, 3, 5})
      for (const int frames : {1, 2, 5})
        for (const bool sparse : {false, true})
          follows_the_paths<Real>(random, frames, states, sparse, round % 2 == 1, round % 3 - 1);
  keeps_what_is_open<Real>();
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
