// Vectors, lane by lane, against loops; uninitialised memory on a cache line boundary.
#include "hmm/simd.hpp"

#include "check.hpp"
#include "hmm/buffer.hpp"

namespace {

using hmm::kLanes;
using hmm::Vec;

template <typename Real>
void lanes_are_what_loops_give() {
  constexpr int L = static_cast<int>(kLanes<Real>);
  Random random;
  for (int round = 0; round < 200; ++round) {
    Real a[L], b[L], c[L], out[L];
    for (int l = 0; l < L; ++l) {
      a[l] = static_cast<Real>(random.below(2000) - 1000) / 8;
      b[l] = static_cast<Real>(random.below(2000) - 1000) / 8;
      c[l] = static_cast<Real>(random.below(2000) - 1000) / 8;
    }
    using V = Vec<Real>;
    const V x = hmm::load<V>(a), y = hmm::load<V>(b), z = hmm::load<V>(c);
    hmm::store(out, hmm::madd(x, y, z));
    Real greatest = a[0], total = 0;
    bool less = false;
    for (int l = 0; l < L; ++l) {
      CHECK(out[l] == a[l] * b[l] + c[l]);  // Exact: products of eighths.
      CHECK(hmm::max(x, y)[l] == (a[l] > b[l] ? a[l] : b[l]));
      CHECK(hmm::min(x, y)[l] == (a[l] < b[l] ? a[l] : b[l]));
      CHECK(hmm::rotate<1>(x)[l] == a[(l + 1) % L]);
      greatest = a[l] > greatest ? a[l] : greatest;
      total += a[l];
      less = less || a[l] < b[l];
    }
    CHECK(hmm::largest(x) == greatest);
    CHECK(hmm::sum(x) == total);
    CHECK(hmm::any(x < y) == less);
  }
  CHECK(!hmm::any(hmm::splat<Vec<Real>>(Real(1)) < Real(1)));
}

template <typename Real>
void parts_of_vectors_touch_nothing_else() {
  constexpr std::int64_t L = kLanes<Real>;
  using V = Vec<Real>;
  for (std::int64_t n = 0; n <= L; ++n) {
    // Exactly as long as what is read and written, so that a sanitizer sees one more.
    hmm::Buffer<Real> from(n), to(n);
    for (std::int64_t i = 0; i < n; ++i) from[i] = static_cast<Real>(i + 1);
    const V v = hmm::load_first<V>(from.data(), n, Real(-7));
    for (std::int64_t l = 0; l < L; ++l) CHECK(v[l] == (l < n ? static_cast<Real>(l + 1) : Real(-7)));
    hmm::store_first(to.data(), v, n);
    for (std::int64_t i = 0; i < n; ++i) CHECK(to[i] == from[i]);
    CHECK(hmm::padded<Real>(n) == (n == 0 ? 0 : L));
    CHECK(hmm::padded<Real>(n + L) == (n == 0 ? L : 2 * L));
  }
}

void buffers_are_aligned_and_keep_what_they_have() {
  hmm::Buffer<double> buffer;
  CHECK(buffer.data() == nullptr && buffer.size() == 0);
  double* first = buffer.reserve(3);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  buffer[2] = 5;
  CHECK(buffer.reserve(2) == first && buffer.size() == 3 && buffer[2] == 5);
  buffer.reserve(1000)[999] = 1;
  CHECK(buffer.size() == 1000 && reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
  hmm::PerWorker<hmm::Buffer<float>> workers(3);
  for (int worker = 0; worker < 3; ++worker) workers[worker].reserve(worker + 1)[worker] = 1;
}

}  // namespace

int main() {
  lanes_are_what_loops_give<float>();
  lanes_are_what_loops_give<double>();
  parts_of_vectors_touch_nothing_else<float>();
  parts_of_vectors_touch_nothing_else<double>();
  buffers_are_aligned_and_keep_what_they_have();
}
