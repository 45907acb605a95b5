// The order in which the sequences of a batch are worked on: threads that take what is left end together.
#pragma once

#include <cstdint>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

HMM_BEGIN_TARGET

// Numbers of the sequences, the longest first; equal lengths in their order.
class LongestFirst {
 public:
  LongestFirst(const std::int64_t* lengths, std::int64_t batch, std::int64_t frames)
      : batch_(batch), order_(batch) {
    if (batch == 1) order_[0] = 0;
    if (batch < 2) return;
    Buffer<std::int64_t> start(frames + 1);  // of each length, from the longest
    for (std::int64_t t = 0; t <= frames; ++t) start[t] = 0;
    for (std::int64_t b = 0; b < batch; ++b) ++start[frames - lengths[b]];
    std::int64_t before = 0;
    for (std::int64_t t = 0; t <= frames; ++t) {
      const std::int64_t count = start[t];
      start[t] = before;
      before += count;
    }
    for (std::int64_t b = 0; b < batch; ++b) order_[start[frames - lengths[b]]++] = b;
  }

  std::int64_t operator[](std::int64_t i) const { return order_[i]; }
  const std::int64_t* data() const { return order_.data(); }

  // Deals the sequences out: those at begin(p)..begin(p+1)-1, for each of `parts` parts, are then about as
  // long together as those of any other, and still the longest first.
  template <typename Begin>
  void deal(std::int64_t parts, Begin&& begin) {
    Buffer<std::int64_t> sorted(batch_), next(parts);
    for (std::int64_t i = 0; i < batch_; ++i) sorted[i] = order_[i];
    for (std::int64_t part = 0; part < parts; ++part) next[part] = begin(part);
    bool back = false;
    for (std::int64_t i = 0; i < batch_; back = !back) {
      for (std::int64_t k = 0; k < parts && i < batch_; ++k) {
        const std::int64_t part = back ? parts - 1 - k : k;
        if (next[part] < begin(part + 1)) order_[next[part]++] = sorted[i++];
      }
    }
  }

 private:
  std::int64_t batch_;
  Buffer<std::int64_t> order_;
};

// Calls body(b, worker) for every sequence, as parallel_for does.
template <typename Real, typename Body>
void for_each_sequence(const Model<Real>& m, const Executor& executor, int threads, Body&& body) {
  const LongestFirst order(m.lengths, m.batch, m.frames);
  parallel_for(executor, m.batch, threads, [&](std::int64_t i, int worker) { body(order[i], worker); });
}

HMM_END_TARGET
