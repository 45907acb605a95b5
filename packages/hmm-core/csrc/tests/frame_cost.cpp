// Squared and plain distances of random frames, against the definition.
#include "hmm/frame_cost.hpp"

#include <algorithm>
#include <vector>

#include "check.hpp"
#include "hmm/thread_pool.hpp"

namespace {

template <typename Real>
void costs_are_distances(Random& random, std::int64_t N, std::int64_t M, std::int64_t D, hmm::Metric metric) {
  const std::int64_t B = 2;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  std::vector<Real> x(size(B * N * D)), y(size(B * M * D)), cost(size(B * N * M), 9);
  for (Real& value : x) value = static_cast<Real>(random.uniform());
  for (Real& value : y) value = static_cast<Real>(random.uniform());
  if (N > 0 && M > 0) std::copy(x.begin(), x.begin() + D, y.begin());  // frames that are the same
  const std::vector<std::int64_t> rows{N, N / 2}, columns{M, (M + 1) / 2};
  hmm::Warping<Real> pairs;
  pairs.batch = B;
  pairs.rows = N;
  pairs.columns = M;
  pairs.size = D;
  pairs.metric = metric;
  pairs.x = x.data();
  pairs.y = y.data();
  pairs.lengths_x = rows.data();
  pairs.lengths_y = columns.data();
  hmm::frame_cost(pairs, hmm::ThreadPool::executor(2), cost.data());
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t i = 0; i < rows[size(b)]; ++i)
      for (std::int64_t j = 0; j < columns[size(b)]; ++j) {
        long double square = 0;
        for (std::int64_t d = 0; d < D; ++d) {
          const long double difference = static_cast<long double>(x[size((b * N + i) * D + d)]) -
                                         static_cast<long double>(y[size((b * M + j) * D + d)]);
          square += difference * difference;
        }
        const long double costs[] = {square, std::sqrt(square), square / 2};
        const long double expected = costs[static_cast<int>(metric)];
        const long double tolerance = 200 * std::numeric_limits<Real>::epsilon() * (1 + expected);
        CHECK_CLOSE(cost[size((b * N + i) * M + j)], expected, tolerance);
        if (b == 0 && i == 0 && j == 0) CHECK(cost[0] == 0);
      }
}

template <typename Real>
void all() {
  Random random;
  const std::int64_t shapes[][3] = {{0, 3, 2}, {1, 1, 1}, {3, 5, 2}, {8, 32, 13}, {17, 33, 80}, {40, 70, 3}};
  for (const auto& [N, M, D] : shapes)
    for (const hmm::Metric metric :
         {hmm::Metric::kSquaredEuclidean, hmm::Metric::kEuclidean, hmm::Metric::kCosine})
      costs_are_distances<Real>(random, N, M, D, metric);
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
