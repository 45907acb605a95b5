// Viterbi decoding with sparse transitions.
//
//   delta[0, j] = log_initial[j] + log_emission[0, j]
//   delta[t, j] = max_r (delta[t-1, predecessors[j, r]] + log_weight[t-1, j, r]) + log_emission[t, j]
//
// Scores are relative to the best state of each frame. Additions happen in the order of the Python reference,
// and the first maximum wins, so that the paths are the same to the bit. Compile with -ffp-contract=off to
// keep that promise.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "hmm/parallel.hpp"

namespace hmm {

// Sizes, and the distance in elements from one sequence (or step) to the next: 0 where all share one table.
struct ViterbiLayout {
  std::int64_t batch;      // B
  std::int64_t frames;     // T
  std::int64_t states;     // K
  std::int64_t slots;      // R
  std::int64_t densities;  // P
  std::int64_t initial_stride;
  std::int64_t predecessor_stride;
  std::int64_t weight_stride;
  std::int64_t weight_step;
  std::int64_t final_stride;
  std::int64_t index_stride;
};

namespace detail {

// Greatest of n values, -inf for none. Eight lanes, because a compiler must not reorder one chain of maxima.
template <typename Real>
Real maximum(const Real* values, std::int64_t n) {
  constexpr std::int64_t kLanes = 8;
  Real lane[kLanes];
  for (Real& value : lane) value = -std::numeric_limits<Real>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t l = 0; l < kLanes; ++l) lane[l] = values[i + l] > lane[l] ? values[i + l] : lane[l];
  }
  for (; i < n; ++i) lane[0] = values[i] > lane[0] ? values[i] : lane[0];
  Real best = lane[0];
  for (std::int64_t l = 1; l < kLanes; ++l) best = lane[l] > best ? lane[l] : best;
  return best;
}

// States begin..end-1 whose arcs all come from the same distances: no gathers. N slots are used by each of
// them.
template <int N, typename Real, typename Slot>
void step_band(std::int64_t begin, std::int64_t end, const std::int64_t* offset, const Real* previous,
               const Real* weight, std::int64_t weight_pitch, const Real* emission, Real* __restrict score,
               Slot* __restrict slot) {
  static_assert(N >= 1 && N <= 4, "one pointer for each slot");
  const Real* p0 = previous + offset[0];
  const Real* p1 = previous + offset[N > 1 ? 1 : 0];
  const Real* p2 = previous + offset[N > 2 ? 2 : 0];
  const Real* p3 = previous + offset[N > 3 ? 3 : 0];
  const Real* w0 = weight;
  const Real* w1 = weight + weight_pitch;
  const Real* w2 = weight + 2 * weight_pitch;
  const Real* w3 = weight + 3 * weight_pitch;
  for (std::int64_t j = begin; j < end; ++j) {
    Real best = p0[j] + w0[j];
    int chosen = 0;
    if (N > 1) {
      const Real other = p1[j] + w1[j];
      chosen = other > best ? 1 : chosen;
      best = other > best ? other : best;
    }
    if (N > 2) {
      const Real other = p2[j] + w2[j];
      chosen = other > best ? 2 : chosen;
      best = other > best ? other : best;
    }
    if (N > 3) {
      const Real other = p3[j] + w3[j];
      chosen = other > best ? 3 : chosen;
      best = other > best ? other : best;
    }
    score[j] = best + emission[j];
    slot[j] = static_cast<Slot>(chosen);
  }
}

// Decodes one sequence after another, keeping its buffers.
template <typename Real, typename Slot>
class ViterbiDecoder {
 public:
  explicit ViterbiDecoder(const ViterbiLayout& layout)
      : layout_(layout),
        previous_(static_cast<std::size_t>(layout.states)),
        score_(static_cast<std::size_t>(layout.states)),
        emission_(static_cast<std::size_t>(layout.states)),
        used_(static_cast<std::size_t>(layout.states)) {}

  // The arguments are those of one sequence; `states` receives its T states.
  void decode(const Real* log_initial, const std::int64_t* predecessors, const Real* log_weight,
              const Real* log_emission, std::int64_t length, const Real* log_final,
              const std::int64_t* emission_index, std::int64_t* states) {
    const std::int64_t K = layout_.states;
    std::fill(states, states + layout_.frames, std::int64_t{-1});
    if (length < 0 || length > layout_.frames) throw std::out_of_range("hmm::viterbi: length outside 0..T");
    if (length == 0) return;
    prepare(predecessors, log_weight, emission_index);
    back_.resize(static_cast<std::size_t>((length - 1) * K));
    for (std::int64_t t = 0; t < length; ++t) {
      const Real* emission = frame(log_emission + t * layout_.densities, emission_index);
      if (t == 0) {
        for (std::int64_t j = 0; j < K; ++j) score_[j] = log_initial[j] + emission[j];
      } else {
        step(predecessors, log_weight + (t - 1) * layout_.weight_step, emission, back_.data() + (t - 1) * K);
      }
      const Real shift = maximum(score_.data(), K);
      if (shift == -std::numeric_limits<Real>::infinity()) return;  // No path reaches this frame.
      for (std::int64_t j = 0; j < K; ++j) previous_[j] = score_[j] - shift;
    }
    for (std::int64_t j = 0; j < K; ++j) score_[j] = previous_[j] + log_final[j];
    std::int64_t state = std::max_element(score_.begin(), score_.end()) - score_.begin();
    if (score_[state] == -std::numeric_limits<Real>::infinity()) return;  // No path may end here.
    states[length - 1] = state;
    for (std::int64_t t = length - 1; t > 0; --t) {
      state = predecessors[state * layout_.slots + back_[(t - 1) * K + state]];
      states[t - 1] = state;
    }
  }

 private:
  // States begin..end-1; a band has its own transposed weights, other states read the caller's.
  struct Segment {
    std::int64_t begin;
    std::int64_t end;
    int band_slots;  // 0: not a band
    std::int64_t offset[4];
  };

  // Shorter runs gain nothing from being a band.
  static constexpr std::int64_t kShortestBand = 8;
  static constexpr int kBandSlots = 4;

  // Counts the used slots, checks every index, and finds the bands.
  void prepare(const std::int64_t* predecessors, const Real* log_weight, const std::int64_t* emission_index) {
    const std::int64_t K = layout_.states;
    const std::int64_t R = layout_.slots;
    for (std::int64_t j = 0; j < K; ++j) {
      std::int64_t count = 0;
      while (count < R && predecessors[j * R + count] >= 0) {
        if (predecessors[j * R + count] >= K)
          throw std::out_of_range("hmm::viterbi: predecessor outside 0..K-1");
        ++count;
      }
      used_[j] = count;
      if (emission_index != nullptr && (emission_index[j] < 0 || emission_index[j] >= layout_.densities)) {
        throw std::out_of_range("hmm::viterbi: emission_index outside 0..P-1");
      }
    }
    segments_.clear();
    if (layout_.weight_step != 0) {  // Weights that change in every frame are not worth transposing.
      segments_.push_back({0, K, 0, {}});
      return;
    }
    for (std::int64_t begin = 0; begin < K;) {
      std::int64_t end = begin + 1;
      while (end < K && same_offsets(predecessors, begin, end)) ++end;
      const bool band = end - begin >= kShortestBand && used_[begin] >= 1 && used_[begin] <= kBandSlots;
      if (band) {
        Segment segment{begin, end, static_cast<int>(used_[begin]), {}};
        for (int r = 0; r < segment.band_slots; ++r) segment.offset[r] = predecessors[begin * R + r] - begin;
        segments_.push_back(segment);
      } else if (!segments_.empty() && segments_.back().band_slots == 0) {
        segments_.back().end = end;
      } else {
        segments_.push_back({begin, end, 0, {}});
      }
      begin = end;
    }
    band_weight_.resize(static_cast<std::size_t>(kBandSlots * K));
    for (const Segment& segment : segments_) {
      for (int r = 0; r < segment.band_slots; ++r) {
        for (std::int64_t j = segment.begin; j < segment.end; ++j)
          band_weight_[r * K + j] = log_weight[j * R + r];
      }
    }
  }

  bool same_offsets(const std::int64_t* predecessors, std::int64_t a, std::int64_t b) const {
    const std::int64_t R = layout_.slots;
    if (used_[a] != used_[b]) return false;
    for (std::int64_t r = 0; r < used_[a]; ++r) {
      if (predecessors[a * R + r] - a != predecessors[b * R + r] - b) return false;
    }
    return true;
  }

  // Scores of all states in one frame, through the densities they read.
  const Real* frame(const Real* densities, const std::int64_t* emission_index) {
    if (emission_index == nullptr) return densities;
    for (std::int64_t j = 0; j < layout_.states; ++j) emission_[j] = densities[emission_index[j]];
    return emission_.data();
  }

  void step(const std::int64_t* predecessors, const Real* log_weight, const Real* emission, Slot* slot) {
    const std::int64_t K = layout_.states;
    const Real* previous = previous_.data();
    const Real* weight = band_weight_.data();
    Real* score = score_.data();
    for (const Segment& s : segments_) {
      switch (s.band_slots) {
        case 0:
          step_any(s.begin, s.end, predecessors, log_weight, emission, slot);
          break;
        case 1:
          step_band<1>(s.begin, s.end, s.offset, previous, weight, K, emission, score, slot);
          break;
        case 2:
          step_band<2>(s.begin, s.end, s.offset, previous, weight, K, emission, score, slot);
          break;
        case 3:
          step_band<3>(s.begin, s.end, s.offset, previous, weight, K, emission, score, slot);
          break;
        default:
          step_band<4>(s.begin, s.end, s.offset, previous, weight, K, emission, score, slot);
          break;
      }
    }
  }

  void step_any(std::int64_t begin, std::int64_t end, const std::int64_t* predecessors,
                const Real* log_weight, const Real* emission, Slot* slot) {
    const std::int64_t R = layout_.slots;
    const Real* previous = previous_.data();
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int64_t* source = predecessors + j * R;
      const Real* weight = log_weight + j * R;
      const std::int64_t used = used_[j];
      Real best = used > 0 ? previous[source[0]] + weight[0] : -std::numeric_limits<Real>::infinity();
      std::int64_t chosen = 0;
      for (std::int64_t r = 1; r < used; ++r) {
        const Real other = previous[source[r]] + weight[r];
        chosen = other > best ? r : chosen;
        best = other > best ? other : best;
      }
      score_[j] = best + emission[j];
      slot[j] = static_cast<Slot>(chosen);
    }
  }

  const ViterbiLayout& layout_;
  std::vector<Real> previous_, score_, emission_, band_weight_;
  std::vector<std::int64_t> used_;
  std::vector<Segment> segments_;
  std::vector<Slot> back_;
};

template <typename Slot, typename Real>
void viterbi_with_slots(const Real* log_initial, const std::int64_t* predecessors, const Real* log_weight,
                        const Real* log_emission, const std::int64_t* lengths, const Real* log_final,
                        const std::int64_t* emission_index, const ViterbiLayout& layout, int threads,
                        std::int64_t* states) {
  parallel_for(layout.batch, threads, [&]() {
    return [&, decoder = ViterbiDecoder<Real, Slot>(layout)](std::int64_t b) mutable {
      decoder.decode(log_initial + b * layout.initial_stride, predecessors + b * layout.predecessor_stride,
                     log_weight + b * layout.weight_stride,
                     log_emission + b * layout.frames * layout.densities, lengths[b],
                     log_final + b * layout.final_stride,
                     emission_index == nullptr ? nullptr : emission_index + b * layout.index_stride,
                     states + b * layout.frames);
    };
  });
}

}  // namespace detail

// Best path of each sequence, -1 after its end and where no path exists.
//
// predecessors  (K, R) a sequence: the states with an arc into each state, then -1
// log_weight    (K, R) a step, `layout.weight_step` apart, or one table for all steps
// log_emission  (T, P) a sequence
// emission_index  the density that each state reads, or null: state k reads density k
// threads       at most this many; few are used where there is little to do, and the result is the same for
// any
//
// Throws std::out_of_range where an index or length leaves its range.
template <typename Real>
void viterbi(const Real* log_initial, const std::int64_t* predecessors, const Real* log_weight,
             const Real* log_emission, const std::int64_t* lengths, const Real* log_final,
             const std::int64_t* emission_index, const ViterbiLayout& layout, int threads,
             std::int64_t* states) {
  // Starting a thread costs about as much as a hundred thousand arcs.
  constexpr double kArcsPerThread = 500e3;
  const double arcs = static_cast<double>(layout.batch) * static_cast<double>(layout.frames) *
                      static_cast<double>(layout.states) * static_cast<double>(layout.slots);
  const double wanted = std::min(
      {static_cast<double>(threads), static_cast<double>(layout.batch), 1.0 + arcs / kArcsPerThread});
  const int used = std::max(1, static_cast<int>(wanted));
  const auto run = [&](auto slot) {
    detail::viterbi_with_slots<decltype(slot)>(log_initial, predecessors, log_weight, log_emission, lengths,
                                               log_final, emission_index, layout, used, states);
  };
  if (layout.slots <= 255) {
    run(std::uint8_t{});
  } else if (layout.slots <= 65535) {
    run(std::uint16_t{});
  } else {
    run(std::uint32_t{});
  }
}

}  // namespace hmm
