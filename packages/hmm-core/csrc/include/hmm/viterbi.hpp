// Viterbi decoding with sparse transitions.
//
//   delta[0, j] = log_initial[j] + log_emission[0, j]
//   delta[t, j] = max_r (delta[t-1, predecessors[j, r]] + log_weight[t-1, j, r]) + log_emission[t, j]
//
// Scores are relative to the best state of each frame. Additions happen in the order of the Python reference,
// and the first maximum wins, so that the paths are the same to the bit. Compile with -ffp-contract=off to
// keep that promise.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/model.hpp"

HMM_BEGIN_TARGET

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
  ViterbiDecoder() = default;

  // Allocates for one model.
  void open(const Model<Real>& model) {
    model_ = &model;
    previous_.reserve(model.states);
    score_.reserve(model.states);
    emission_.reserve(model.states);
    used_.reserve(model.states);
    segments_.reserve(model.states);
  }

  // The arguments are those of one sequence; `states` receives its T states.
  void decode(const Real* log_initial, const std::int64_t* predecessors, const Real* log_weight,
              const Real* log_emission, std::int64_t length, const Real* log_final,
              const std::int64_t* emission_index, std::int64_t* states) {
    const std::int64_t K = model_->states;
    for (std::int64_t t = 0; t < model_->frames; ++t) states[t] = -1;
    if (length == 0) return;
    prepare(predecessors, log_weight);
    back_.reserve((length - 1) * K);
    for (std::int64_t t = 0; t < length; ++t) {
      const Real* emission = frame(log_emission + t * model_->densities, emission_index);
      if (t == 0) {
        for (std::int64_t j = 0; j < K; ++j) score_[j] = log_initial[j] + emission[j];
      } else {
        step(predecessors, log_weight + (t - 1) * model_->weight_step, emission, back_.data() + (t - 1) * K);
      }
      const Real shift = maximum(score_.data(), K);
      if (shift == -std::numeric_limits<Real>::infinity()) return;  // No path reaches this frame.
      for (std::int64_t j = 0; j < K; ++j) previous_[j] = score_[j] - shift;
    }
    for (std::int64_t j = 0; j < K; ++j) score_[j] = previous_[j] + log_final[j];
    std::int64_t state = 0;
    for (std::int64_t j = 1; j < K; ++j) state = score_[j] > score_[state] ? j : state;
    if (score_[state] == -std::numeric_limits<Real>::infinity()) return;  // No path may end here.
    states[length - 1] = state;
    for (std::int64_t t = length - 1; t > 0; --t) {
      state = predecessors[state * model_->slots + back_[(t - 1) * K + state]];
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

  // Counts the used slots and finds the bands.
  void prepare(const std::int64_t* predecessors, const Real* log_weight) {
    const std::int64_t K = model_->states;
    const std::int64_t R = model_->slots;
    for (std::int64_t j = 0; j < K; ++j) {
      std::int64_t count = 0;
      while (count < R && predecessors[j * R + count] >= 0) {
        ++count;
      }
      used_[j] = count;
    }
    segment_count_ = 0;
    if (model_->weight_step != 0) {  // Weights that change in every frame are not worth transposing.
      segments_[segment_count_++] = {0, K, 0, {}};
      return;
    }
    for (std::int64_t begin = 0; begin < K;) {
      std::int64_t end = begin + 1;
      while (end < K && same_offsets(predecessors, begin, end)) ++end;
      const bool band = end - begin >= kShortestBand && used_[begin] >= 1 && used_[begin] <= kBandSlots;
      if (band) {
        Segment segment{begin, end, static_cast<int>(used_[begin]), {}};
        for (int r = 0; r < segment.band_slots; ++r) segment.offset[r] = predecessors[begin * R + r] - begin;
        segments_[segment_count_++] = segment;
      } else if (segment_count_ > 0 && segments_[segment_count_ - 1].band_slots == 0) {
        segments_[segment_count_ - 1].end = end;
      } else {
        segments_[segment_count_++] = {begin, end, 0, {}};
      }
      begin = end;
    }
    band_weight_.reserve(kBandSlots * K);
    for (std::int64_t i = 0; i < segment_count_; ++i) {
      const Segment& segment = segments_[i];
      for (int r = 0; r < segment.band_slots; ++r) {
        for (std::int64_t j = segment.begin; j < segment.end; ++j)
          band_weight_[r * K + j] = log_weight[j * R + r];
      }
    }
  }

  bool same_offsets(const std::int64_t* predecessors, std::int64_t a, std::int64_t b) const {
    const std::int64_t R = model_->slots;
    if (used_[a] != used_[b]) return false;
    for (std::int64_t r = 0; r < used_[a]; ++r) {
      if (predecessors[a * R + r] - a != predecessors[b * R + r] - b) return false;
    }
    return true;
  }

  // Scores of all states in one frame, through the densities they read.
  const Real* frame(const Real* densities, const std::int64_t* emission_index) {
    if (emission_index == nullptr) return densities;
    for (std::int64_t j = 0; j < model_->states; ++j) emission_[j] = densities[emission_index[j]];
    return emission_.data();
  }

  void step(const std::int64_t* predecessors, const Real* log_weight, const Real* emission, Slot* slot) {
    const std::int64_t K = model_->states;
    const Real* previous = previous_.data();
    const Real* weight = band_weight_.data();
    Real* score = score_.data();
    for (std::int64_t i = 0; i < segment_count_; ++i) {
      const Segment& s = segments_[i];
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
    const std::int64_t R = model_->slots;
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

  const Model<Real>* model_ = nullptr;
  Buffer<Real> previous_, score_, emission_, band_weight_;
  Buffer<std::int64_t> used_;
  Buffer<Segment> segments_;
  std::int64_t segment_count_ = 0;
  Buffer<Slot> back_;
};

template <typename Slot, typename Real>
void viterbi_with_slots(const Model<Real>& m, const Executor& executor, int threads, std::int64_t* states) {
  PerWorker<ViterbiDecoder<Real, Slot>> decoders(threads);
  parallel_for(executor, m.batch, threads, [&](std::int64_t b, int worker) {
    ViterbiDecoder<Real, Slot>& decoder = decoders[worker];
    decoder.open(m);
    decoder.decode(m.log_initial + b * m.initial_stride, m.predecessors + b * m.predecessor_stride,
                   m.log_weight + b * m.weight_stride, m.log_emission + b * m.frames * m.densities,
                   m.lengths[b], m.log_final + b * m.final_stride,
                   m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride,
                   states + b * m.frames);
  });
}

}  // namespace detail

// Best path (B, T) of each sequence, -1 after its end and where no path exists. Sparse models only.
template <typename Real>
void viterbi(const Model<Real>& m, const Executor& executor, std::int64_t* states) {
  const double arcs = static_cast<double>(m.batch) * static_cast<double>(m.frames) *
                      static_cast<double>(m.states) * static_cast<double>(m.slots);
  const int threads = useful_threads(executor, m.batch, arcs / 4);
  if (m.slots <= 255) {
    detail::viterbi_with_slots<std::uint8_t>(m, executor, threads, states);
  } else if (m.slots <= 65535) {
    detail::viterbi_with_slots<std::uint16_t>(m, executor, threads, states);
  } else {
    detail::viterbi_with_slots<std::uint32_t>(m, executor, threads, states);
  }
}

HMM_END_TARGET
