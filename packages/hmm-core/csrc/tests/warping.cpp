// Warping of random costs, against the plain recursions.
#include <algorithm>
#include <vector>

#include "check.hpp"
#include "hmm/dtw.hpp"
#include "hmm/soft_dtw.hpp"
#include "hmm/thread_pool.hpp"

namespace {

template <typename Real>
void warping_is_the_plain_recursion(Random& random, std::int64_t N, std::int64_t M) {
  const std::int64_t B = 2;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  std::vector<Real> cost(size(B * N * M));
  for (Real& value : cost) value = static_cast<Real>(random.uniform());
  const std::vector<std::int64_t> rows{N, (N + 1) / 2}, columns{M, (M + 2) / 2 < M ? (M + 2) / 2 : M};
  hmm::Warping<Real> w;
  w.batch = B;
  w.rows = N;
  w.columns = M;
  w.cost = cost.data();
  w.lengths_x = rows.data();
  w.lengths_y = columns.data();
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  std::vector<Real> distance(size(B), 9), value(size(B), 9), gradient(size(B * N * M), 9), factor(size(B), 1);
  std::vector<std::int64_t> path(size(B * (N + M - 1) * 2), -9), path_length(size(B), -9);
  hmm::dtw(w, hmm::StepPattern::kSymmetric1, executor, distance.data(), path.data(), path_length.data());
  std::vector<Real> message(size(B * hmm::soft_dtw_message_size<Real>(N, M)));
  hmm::soft_dtw(w, 0.5, executor, value.data(), message.data());
  hmm::soft_dtw_backward(w, 0.5, executor, factor.data(), message.data(), gradient.data());
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t n = rows[size(b)], m = columns[size(b)];
    std::vector<long double> hard(size((n + 1) * (m + 1)), INFINITY), soft(hard);
    hard[0] = soft[0] = 0;
    const auto at = [&](std::int64_t i, std::int64_t j) { return size(i * (m + 1) + j); };
    for (std::int64_t i = 1; i <= n; ++i)
      for (std::int64_t j = 1; j <= m; ++j) {
        const long double here = cost[size((b * N + i - 1) * M + j - 1)];
        const std::size_t from[] = {at(i - 1, j), at(i, j - 1), at(i - 1, j - 1)};
        hard[at(i, j)] = here + std::min({hard[from[0]], hard[from[1]], hard[from[2]]});
        long double sum = 0;
        for (const std::size_t f : from) sum += std::exp(-soft[f] / 0.5L);
        soft[at(i, j)] = here - 0.5L * std::log(sum);
      }
    const long double tolerance = 20 * static_cast<long double>(N + M) * std::numeric_limits<Real>::epsilon();
    CHECK_CLOSE(distance[size(b)], hard[at(n, m)], tolerance);
    CHECK_CLOSE(value[size(b)], soft[at(n, m)], tolerance);
    // The path has the cost that it was found for.
    long double along = 0;
    const std::int64_t* steps = path.data() + b * (N + M - 1) * 2;
    for (std::int64_t s = 0; s < path_length[size(b)]; ++s)
      along += cost[size((b * N + steps[2 * s]) * M + steps[2 * s + 1])];
    CHECK_CLOSE(along, hard[at(n, m)], tolerance);
    // All alignments pass through both corners, and padding has no gradient.
    CHECK_CLOSE(gradient[size(b * N * M)], 1, tolerance);
    CHECK_CLOSE(gradient[size((b * N + n - 1) * M + m - 1)], 1, tolerance);
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t j = 0; j < M; ++j)
        if (i >= n || j >= m) CHECK(gradient[size((b * N + i) * M + j)] == 0);
  }
}

// Frames are warped as their costs are, and have the derivatives that follow from those of the costs.
template <typename Real>
void frames_are_their_costs(Random& random, std::int64_t N, std::int64_t M, std::int64_t D,
                            hmm::Metric metric) {
  const std::int64_t B = 2;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  std::vector<Real> x(size(B * N * D)), y(size(B * M * D)), cost(size(B * N * M));
  for (Real& value : x) value = static_cast<Real>(random.uniform());
  for (Real& value : y) value = static_cast<Real>(random.uniform());
  std::copy(x.begin(), x.begin() + D, y.begin());  // frames that are the same
  const std::vector<std::int64_t> rows{N, (N + 1) / 2}, columns{M, (M + 2) / 2 < M ? (M + 2) / 2 : M};
  hmm::Warping<Real> frames;
  frames.batch = B;
  frames.rows = N;
  frames.columns = M;
  frames.lengths_x = rows.data();
  frames.lengths_y = columns.data();
  hmm::Warping<Real> costs = frames;
  frames.x = x.data();
  frames.y = y.data();
  frames.size = D;
  frames.metric = metric;
  costs.cost = cost.data();
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  hmm::frame_cost(frames, executor, cost.data());
  std::vector<Real> distance[2], value[2], by_x(x.size(), 9), by_y(y.size(), 9), gradient(cost.size());
  for (int k = 0; k < 2; ++k) {
    value[k].resize(size(B));
    distance[k].resize(size(3 * B));
    for (int pattern = 0; pattern < 3; ++pattern)
      hmm::dtw(k == 0 ? frames : costs, static_cast<hmm::StepPattern>(pattern), executor,
               distance[k].data() + pattern * B, static_cast<std::int64_t*>(nullptr),
               static_cast<std::int64_t*>(nullptr));
  }
  hmm::soft_dtw_frames(frames, 0.5, executor, value[0].data(), by_x.data(), by_y.data());
  std::vector<Real> factor(size(B), 1), message(size(B * hmm::soft_dtw_message_size<Real>(N, M)));
  hmm::soft_dtw(costs, 0.5, executor, value[1].data(), message.data());
  hmm::soft_dtw_backward(costs, 0.5, executor, factor.data(), message.data(), gradient.data());
  CHECK(distance[0] == distance[1]);
  CHECK(value[0] == value[1]);
  std::vector<long double> expected_x(x.size()), expected_y(y.size());
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t i = 0; i < rows[size(b)]; ++i)
      for (std::int64_t j = 0; j < columns[size(b)]; ++j) {
        const long double c = cost[size((b * N + i) * M + j)], e = gradient[size((b * N + i) * M + j)];
        const long double weights[] = {2 * e, c > 0 ? e / c : 0, e};
        for (std::int64_t d = 0; d < D; ++d) {
          const std::size_t at_x = size((b * N + i) * D + d), at_y = size((b * M + j) * D + d);
          const long double term = weights[static_cast<int>(metric)] *
                                   (static_cast<long double>(x[at_x]) - static_cast<long double>(y[at_y]));
          expected_x[at_x] += term;
          expected_y[at_y] -= term;
        }
      }
  const long double tolerance = 100 * static_cast<long double>(N + M) * std::numeric_limits<Real>::epsilon();
  for (std::size_t k = 0; k < x.size(); ++k) CHECK_CLOSE(by_x[k], expected_x[k], tolerance);
  for (std::size_t k = 0; k < y.size(); ++k) CHECK_CLOSE(by_y[k], expected_y[k], tolerance);
}

template <typename Real>
void all() {
  Random random;
  const std::int64_t shapes[][2] = {{1, 1},   {1, 5},   {7, 1},   {5, 6},  {16, 16},
                                    {33, 20}, {20, 70}, {65, 64}, {130, 9}};
  for (const auto& [n, m] : shapes) {
    warping_is_the_plain_recursion<Real>(random, n, m);
    for (const hmm::Metric metric :
         {hmm::Metric::kSquaredEuclidean, hmm::Metric::kEuclidean, hmm::Metric::kCosine})
      frames_are_their_costs<Real>(random, n, m, n % 7 == 0 ? 80 : 5, metric);
  }
  // Long enough for cells that are too far away to be left out.
  frames_are_their_costs<Real>(random, 300, 270, 3, hmm::Metric::kEuclidean);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
