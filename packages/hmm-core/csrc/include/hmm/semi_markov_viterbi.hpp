// The best segmentation of a hidden semi-Markov model.
//
//   end[t, j]   = max_d (start[t-d, j] + emissions of j in frames t-d..t-1 + log_duration[j, d])
//   start[t, j] = max_i (end[t, i] + log_transition[i, j]),   start[0] = log_initial
//
// In double, in the order of the Python reference, the first maximum winning: equal paths to the bit. Open
// segments carry their weight from frame to frame, so that an impossible frame ends them. O(T K (R + L))
// time; a length and a predecessor a state and frame are kept, 4 bytes together while K and L are below
// 65,536.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/semi_markov_model.hpp"
#include "hmm/simd.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Decodes one sequence after another, keeping its buffers.
template <typename Real, typename Pointer>
class SemiMarkovDecoder {
 public:
  void decode(const SemiMarkovModel<Real>& model, std::int64_t b, std::int64_t* states,
              std::int64_t* durations) {
    const Model<Real>& m = model.hmm;
    const std::int64_t K = m.states, n = m.lengths[b];
    for (std::int64_t t = 0; t < m.frames; ++t) states[t] = durations[t] = -1;
    if (n == 0) return;
    open(model, b);
    const Real* log_initial = m.log_initial + b * m.initial_stride;
    for (std::int64_t j = 0; j < K; ++j) start_[j] = static_cast<double>(log_initial[j]);
    const std::int64_t* index = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
    const Real* frames = m.log_emission + b * m.frames * m.densities;
    for (std::int64_t t = 1; t <= n; ++t) {
      const Real* frame = frames + (t - 1) * m.densities;
      for (std::int64_t j = 0; j < K; ++j)
        row_[j] = static_cast<double>(frame[index == nullptr ? j : index[j]]);
      const bool last = t == n;
      close(t, model, last ? kLast : kInner, last ? kOnly : kFirst);
      if (!last) enter(model, t);
    }
    const Real* log_final = m.log_final + b * m.final_stride;
    std::int64_t state = 0;
    double best = -std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < K; ++j) {
      const double score = end_[j] + static_cast<double>(log_final[j]);
      state = score > best ? j : state;
      best = score > best ? score : best;
    }
    if (best == -std::numeric_limits<double>::infinity()) return;  // No segmentation is possible.
    for (std::int64_t t = n;;) {
      const std::int64_t length = length_back_[(t - 1) * size_ + state];
      t -= length;
      for (std::int64_t s = t; s < t + length; ++s) {
        states[s] = state;
        durations[s] = 0;
      }
      durations[t] = length;
      if (t == 0) return;
      state = source_back_[(t - 1) * size_ + state];
    }
  }

 private:
  using V = Vec<double>;
  using I = IntVec<double>;
  static constexpr std::int64_t kWidth = kLanes<double>;

  void open(const SemiMarkovModel<Real>& model, std::int64_t b) {
    const Model<Real>& m = model.hmm;
    const std::int64_t K = m.states, L = model.longest;
    const double impossible = -std::numeric_limits<double>::infinity();
    size_ = padded<double>(K);
    longest_ = L;
    for (Buffer<double>* row : {&start_, &end_, &row_}) {
      row->reserve(size_);
      for (std::int64_t j = 0; j < size_; ++j) (*row)[j] = row == &row_ ? 0 : impossible;
    }
    open_.reserve(L * size_);
    const std::int64_t steps = m.lengths[b];
    length_back_.reserve(steps * size_);
    source_back_.reserve(steps * size_);

    const bool first = sequence_ < 0;
    const bool moved = first || sequence_ != b;
    sequence_ = b;
    if (first || (moved && model.duration_stride != 0)) {
      const Real* from = model.log_duration + b * model.duration_stride;
      duration_.reserve(model.kinds * L * size_);
      for (std::int64_t kind = 0; kind < model.kinds; ++kind) {
        for (std::int64_t d = 0; d < L; ++d) {
          for (std::int64_t j = 0; j < size_; ++j)
            duration_[(kind * L + d) * size_ + j] =
                j < K ? static_cast<double>(from[(kind * K + j) * L + d]) : impossible;
        }
      }
    }
    if (first || (moved && (m.weight_stride != 0 || m.predecessor_stride != 0))) {
      const Real* weight = m.log_weight + b * m.weight_stride;
      slots_ = m.dense() ? K : m.slots;
      weight_.reserve(slots_ * size_);
      source_.reserve(slots_ * size_);
      for (std::int64_t r = 0; r < slots_; ++r) {
        for (std::int64_t j = 0; j < size_; ++j) {
          std::int64_t source = r;
          if (!m.dense()) source = j < K ? m.predecessors[b * m.predecessor_stride + j * slots_ + r] : -1;
          const bool used = j < K && source >= 0;
          const Real* at = weight + (m.dense() ? r * K + j : j * slots_ + r);
          source_[r * size_ + j] = used ? source : 0;
          weight_[r * size_ + j] = used ? static_cast<double>(*at) : impossible;
        }
      }
    }
  }

  // Segments that start at boundary t-1 join those that are open, all get the frame before t, and those that
  // end at t compete.
  void close(std::int64_t t, const SemiMarkovModel<Real>& model, SegmentKind rest, SegmentKind first) {
    const std::int64_t newest = (t - 1) % longest_;
    const std::int64_t filled = t < longest_ ? t : longest_;
    const double* table = duration_.data() + model.table(rest) * longest_ * size_;
    const double* whole = duration_.data() + (model.table(first) * longest_ + t - 1) * size_;
    for (std::int64_t j = 0; j < size_; j += kWidth) {
      store(open_.data() + newest * size_ + j, load<V>(start_.data() + j));
      const V emission = load<V>(row_.data() + j);
      V best = splat<V>(-std::numeric_limits<double>::infinity());
      I length{};
      std::int64_t slot = newest;
      // The first segment, if not yet too long, is the longest open one, and has a table of its own.
      const std::int64_t others = t <= longest_ ? filled - 1 : filled;
      const auto lengthen = [&](std::int64_t d, const double* weight) {
        double* at = open_.data() + slot * size_ + j;
        const V score = load<V>(at) + emission;
        store(at, score);
        const V candidate = score + load<V>(weight + j);
        const auto better = candidate > best;
        best = better ? candidate : best;
        length = better ? splat<I>(d) : length;
      };
      for (std::int64_t d = 1; d <= others; ++d) {
        lengthen(d, table + (d - 1) * size_);
        slot = slot == 0 ? longest_ - 1 : slot - 1;
      }
      if (t <= longest_) lengthen(t, whole);
      store(end_.data() + j, best);
      Pointer* back = length_back_.data() + (t - 1) * size_ + j;
      for (std::int64_t l = 0; l < kWidth; ++l) back[l] = static_cast<Pointer>(length[l]);
    }
  }

  // Best ways into every state at boundary t.
  void enter(const SemiMarkovModel<Real>& model, std::int64_t t) {
    for (std::int64_t j = 0; j < size_; j += kWidth) {
      V best = splat<V>(-std::numeric_limits<double>::infinity());
      I source{};
      for (std::int64_t r = 0; r < slots_; ++r) {
        const I from = load<I>(source_.data() + r * size_ + j);
        V end;
        if (model.hmm.dense()) {
          end = splat<V>(end_[r]);
        } else {
          end = best;  // any value; every lane is set
          for (std::int64_t l = 0; l < kWidth; ++l) end[l] = end_[from[l]];
        }
        const V candidate = end + load<V>(weight_.data() + r * size_ + j);
        const auto better = candidate > best;
        best = better ? candidate : best;
        source = better ? from : source;
      }
      store(start_.data() + j, best);
      Pointer* back = source_back_.data() + (t - 1) * size_ + j;
      for (std::int64_t l = 0; l < kWidth; ++l) back[l] = static_cast<Pointer>(source[l]);
    }
  }

  std::int64_t size_ = 0;
  std::int64_t longest_ = 0;
  std::int64_t slots_ = 0;
  std::int64_t sequence_ = -1;  // whose weights the tables hold
  Buffer<double> start_, end_, row_;
  Buffer<double> open_;      // (L, size), a ring of the weights of open segments by their start
  Buffer<double> duration_;  // (kinds, L, size)
  Buffer<double> weight_;    // (slots, size)
  Buffer<std::int64_t> source_;
  Buffer<Pointer> length_back_, source_back_;  // (T, size)
};

template <typename Pointer, typename Real>
void semi_markov_viterbi_with(const SemiMarkovModel<Real>& model, const Executor& executor, int threads,
                              std::int64_t* states, std::int64_t* durations) {
  PerWorker<SemiMarkovDecoder<Real, Pointer>> decoders(threads);
  for_each_sequence(model.hmm, executor, threads, [&](std::int64_t b, int worker) {
    decoders[worker].decode(model, b, states + b * model.hmm.frames, durations + b * model.hmm.frames);
  });
}

}  // namespace detail

// Best states (B, T), -1 in padding and where no segmentation is possible; durations (B, T), the length of a
// segment at its first frame, 0 in its others, -1 where states are.
template <typename Real>
void semi_markov_viterbi(const SemiMarkovModel<Real>& model, const Executor& executor, std::int64_t* states,
                         std::int64_t* durations) {
  const Model<Real>& m = model.hmm;
  const double steps = static_cast<double>(m.batch) * static_cast<double>(m.frames);
  const double arcs = static_cast<double>(m.dense() ? m.states : m.slots);
  const double work = steps * static_cast<double>(m.states) * (static_cast<double>(model.longest) + arcs) / 4;
  const int threads = useful_threads(executor, m.batch, work);
  if (model.longest <= 65535 && m.states <= 65536) {
    detail::semi_markov_viterbi_with<std::uint16_t>(model, executor, threads, states, durations);
  } else {
    detail::semi_markov_viterbi_with<std::uint32_t>(model, executor, threads, states, durations);
  }
}

HMM_END_TARGET
