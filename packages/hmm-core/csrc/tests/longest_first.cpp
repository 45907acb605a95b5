// The order of sequences: the longest first, or dealt out into parts of about the same length.
#include "hmm/longest_first.hpp"

#include <vector>

#include "check.hpp"

namespace {

using Integer = std::int64_t;

void longer_ones_come_first_and_equal_ones_in_their_order() {
  const std::vector<Integer> lengths{3, 0, 7, 3, 7, 1};
  const hmm::LongestFirst order(lengths.data(), 6, 9);
  const std::vector<Integer> expected{2, 4, 0, 3, 5, 1};
  for (Integer i = 0; i < 6; ++i) CHECK(order[i] == expected[static_cast<std::size_t>(i)]);
  CHECK(hmm::LongestFirst(lengths.data(), 1, 9)[0] == 0);
  hmm::LongestFirst(nullptr, 0, 9).deal(0, [](Integer) { return 0; });
}

// Sizes that differ by one; lengths 1..batch.
void parts_are_about_equally_long(Integer batch, Integer parts) {
  std::vector<Integer> lengths;
  for (Integer b = 0; b < batch; ++b) lengths.push_back(b + 1);
  hmm::LongestFirst order(lengths.data(), batch, batch);
  const auto begin = [&](Integer part) { return part * batch / parts; };
  order.deal(parts, begin);
  std::vector<int> seen(lengths.size(), 0);
  Integer least = batch * batch, most = 0;
  for (Integer part = 0; part < parts; ++part) {
    Integer total = 0;
    for (Integer i = begin(part); i < begin(part + 1); ++i) {
      ++seen[static_cast<std::size_t>(order[i])];
      total += lengths[static_cast<std::size_t>(order[i])];
      if (i > begin(part)) CHECK(order[i] < order[i - 1]);
    }
    least = total < least ? total : least;
    most = total > most ? total : most;
  }
  for (const int count : seen) CHECK(count == 1);
  // At most one more sequence, which may be any.
  CHECK(most - least <= batch);
}

}  // namespace

int main() {
  longer_ones_come_first_and_equal_ones_in_their_order();
  for (const Integer batch : {1, 2, 7, 32, 101})
    for (const Integer parts : {1, 2, 3, 16}) parts_are_about_equally_long(batch, parts);
}
