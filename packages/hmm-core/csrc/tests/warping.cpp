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

template <typename Real>
void all() {
  Random random;
  const std::int64_t shapes[][2] = {{1, 1},   {1, 5},   {7, 1},   {5, 6},  {16, 16},
                                    {33, 20}, {20, 70}, {65, 64}, {130, 9}};
  for (const auto& [n, m] : shapes) warping_is_the_plain_recursion<Real>(random, n, m);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
