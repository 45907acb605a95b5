// The arcs of a sparse model, laid out for the Viterbi recursion: bands without gathers, or gathered slots.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/arcs.hpp"
#include "hmm/buffer.hpp"
#include "hmm/lanes.hpp"

HMM_BEGIN_TARGET

namespace detail {

// States whose back-pointers are packed together: a whole number of vectors and of bytes.
template <typename Real>
constexpr std::int64_t kChunk = kLanes<Real> < 8 ? 8 : kLanes<Real>;

// One bit for each state of a chunk.
template <std::int64_t chunk>
struct PackedBits {
  using Unit = std::uint8_t;
};
template <>
struct PackedBits<16> {
  using Unit = std::uint16_t;
};
template <typename Real>
using Unit = typename PackedBits<kChunk<Real>>::Unit;

// Bits that tell `count` choices apart.
inline int bits_for(std::int64_t count) {
  int bits = 0;
  while ((std::int64_t{1} << bits) < count) ++bits;
  return bits;
}

// A band lists, for each of a few distances between source and target, the weights of all states, -inf where
// a state has no such arc; distances ascend, and so the lowest predecessor comes first. A state with another
// arc as well is `odd`: its weights in the band are -inf, and it is computed by itself. Where too many states
// are odd there is no band, and every slot of every state has its source.
//
// Every state has a place, most often its own number. In the graph of CTC, where blanks and labels take turns
// and only labels may skip a state, the even states are `paired` with the odd ones: the former lie side by
// side, then the latter.
template <typename Real>
class ArcTable {
 public:
  static constexpr int kBandSlots = 4;

  // Finds the layout. `log_weight` is null if the weights change from step to step; `even_alike`: all even
  // states read the same density.
  void open(std::int64_t states, std::int64_t slots, const std::int64_t* predecessors, const Real* log_weight,
            bool even_alike) {
    states_ = states;
    slots_ = slots;
    predecessors_ = predecessors;
    find_band();
    paired_ = even_alike && log_weight != nullptr && is_paired(log_weight);
    half_ = whole_chunks((states + 1) / 2) + kChunk<Real>;  // between the halves, what no path reaches
    pitch_ = paired_ ? 2 * half_ : whole_chunks(states);
    odd_.reserve(states);
    is_odd_.reserve(states);
    odd_count_ = 0;
    std::int64_t most = 1;
    for (std::int64_t j = 0; j < states; ++j) {
      const std::int64_t* source = predecessors + j * slots;
      bool odd = false;
      std::int64_t used = 0;
      for (; used < slots && source[used] >= 0; ++used) odd = odd || position(source[used] - j) < 0;
      is_odd_[j] = static_cast<std::uint8_t>(banded_ && odd);
      if (is_odd_[j] != 0) odd_[odd_count_++] = static_cast<std::int32_t>(j);
      if (used > most && (odd || !banded_)) most = used;
    }
    if (banded_ && odd_count_ > states / 8) {
      banded_ = false;
      odd_count_ = 0;
      for (std::int64_t j = 0; j < states; ++j) {
        is_odd_[j] = 0;
        std::int64_t used = 0;
        while (used < slots && predecessors[j * slots + used] >= 0) ++used;
        if (used > most) most = used;
      }
    }
    if (!banded_) {
      width_ = static_cast<int>(most);
      margin_ = 0;
      source_.reserve(most * pitch_);
      for (std::int64_t r = 0; r < most; ++r) {
        for (std::int64_t j = 0; j < pitch_; ++j) {
          const std::int64_t from = j < states ? predecessors[j * slots + r] : -1;
          source_[r * pitch_ + j] = static_cast<std::int32_t>(from < 0 ? 0 : from);
        }
      }
    }
    planes_ = bits_for(most > width_ ? most : width_);
    choices_ = (std::int64_t{1} << bits_for(width_)) - 1;
    weight_.reserve(width_ * pitch_);
    std::int64_t n = width_ * pitch_;
    for (std::int64_t i = 0; i < n; ++i) weight_[i] = -std::numeric_limits<Real>::infinity();
    reach_.build(states, slots, predecessors);
    free_ = 0;
    if (log_weight == nullptr) return;
    set_weights(log_weight);
    find_free();
  }

  // Takes the weights (K, R) of one step.
  void set_weights(const Real* log_weight) {
    current_ = log_weight;
    for (std::int64_t j = 0; j < states_; ++j) {
      if (is_odd_[j] != 0) continue;
      for (std::int64_t r = 0; r < slots_; ++r) {
        const std::int64_t source = predecessors_[j * slots_ + r];
        if (source < 0) break;
        const std::int64_t row = banded_ ? position(source - j) : r;
        weight_[row * pitch_ + place(j)] = log_weight[j * slots_ + r];
      }
    }
  }

  // State from which `choice` leads to j.
  HMM_INLINE std::int64_t origin(std::int64_t j, std::int64_t choice) const {
    if (banded_ && is_odd_[j] == 0) return j + offset_[choice & choices_];
    return predecessors_[j * slots_ + choice];
  }

  // Whether the highest distance is 0 and the others lie less than a vector below.
  bool near() const { return banded_ && offset_[width_ - 1] == 0 && offset_[0] > -kLanes<Real>; }
  bool banded() const { return banded_; }
  bool paired() const { return paired_; }
  // Where the odd states begin if they are paired.
  std::int64_t half() const { return half_; }
  HMM_INLINE std::int64_t place(std::int64_t j) const { return paired_ ? j / 2 + j % 2 * half_ : j; }
  // Places before which no weight of the band counts: 0 wherever there is a state to come from. Whole chunks;
  // of the pairs' places only those arcs that lie in both halves are meant.
  std::int64_t free() const { return free_; }
  int width() const { return width_; }
  int planes() const { return planes_; }
  std::int64_t pitch() const { return pitch_; }
  std::int64_t margin() const { return margin_; }
  const std::int64_t* offsets() const { return offset_; }
  const Real* weights() const { return weight_.data(); }
  const std::int32_t* sources() const { return source_.data(); }
  std::int64_t odd_count() const { return odd_count_; }
  std::int64_t odd(std::int64_t i) const { return odd_[i]; }
  // How many of them are below state j.
  std::int64_t odd_before(std::int64_t j) const {
    std::int64_t low = 0;
    for (std::int64_t high = odd_count_; low < high;) {
      const std::int64_t middle = (low + high) / 2;
      (odd_[middle] < j ? low : high) = odd_[middle] < j ? middle + 1 : middle;
    }
    return low;
  }
  std::int64_t slots() const { return slots_; }
  const std::int64_t* predecessors() const { return predecessors_; }
  const Real* current() const { return current_; }

  // Adds to the states first..last-1 all that one step leads to from begin..end-1.
  void extend(std::int64_t begin, std::int64_t end, std::int64_t& first, std::int64_t& last) const {
    auto lowest = static_cast<std::int32_t>(begin);
    auto highest = static_cast<std::int32_t>(end);
    reach_.after(lowest, highest);
    last = highest > last ? highest : last;
    first = lowest < first ? lowest : first;
  }

  bool same_distances(const ArcTable& other) const {
    if (width_ != other.width_ || planes_ != other.planes_ || banded_ != other.banded_ ||
        paired_ != other.paired_)
      return false;
    for (int r = 0; r < width_; ++r) {
      if (offset_[r] != other.offset_[r]) return false;
    }
    return true;
  }

 private:
  HMM_INLINE int position(std::int64_t distance) const {
    for (int r = 0; r < width_; ++r) {
      if (offset_[r] == distance) return r;
    }
    return -1;
  }

  static std::int64_t whole_chunks(std::int64_t n) {
    return (n + kChunk<Real> - 1) / kChunk<Real> * kChunk<Real>;
  }

  // Whether all arcs come from the distances -2, -1 and 0, and none of use from -2 into an even state.
  bool is_paired(const Real* log_weight) const {
    if (width_ != 3 || offset_[0] != -2 || offset_[1] != -1 || offset_[2] != 0) return false;
    for (std::int64_t j = 0; j < states_; ++j) {
      for (std::int64_t r = 0; r < slots_; ++r) {
        const std::int64_t source = predecessors_[j * slots_ + r];
        if (source < 0) break;
        if (source > j || source < j - 2) return false;
        if (j % 2 == 0 && source == j - 2 &&
            log_weight[j * slots_ + r] > -std::numeric_limits<Real>::infinity())
          return false;
      }
    }
    return true;
  }

  void find_free() {
    if (!banded_ || odd_count_ > 0) return;
    const auto counts = [&](int r, std::int64_t j) {
      const std::int64_t source = j + offset_[r];
      return source >= 0 && source < states_ && weight_[r * pitch_ + place(j)] != 0;
    };
    std::int64_t free = 0;
    for (; free < states_; ++free) {
      bool weighted = false;
      for (int r = paired_ ? 1 : 0; r < width_; ++r) weighted = weighted || counts(r, free);
      if (weighted) break;
    }
    free_ = (paired_ ? free / 2 : free) / kChunk<Real> * kChunk<Real>;
  }

  // The most frequent distances.
  void find_band() {
    const std::int64_t K = states_;
    histogram_.reserve(2 * K);
    for (std::int64_t i = 0; i < 2 * K; ++i) histogram_[i] = 0;
    std::int64_t lowest = 2 * K;
    std::int64_t highest = -1;
    for (std::int64_t j = 0; j < K; ++j) {
      for (std::int64_t r = 0; r < slots_; ++r) {
        const std::int64_t source = predecessors_[j * slots_ + r];
        if (source < 0) break;
        const std::int64_t at = source - j + K;
        ++histogram_[at];
        lowest = at < lowest ? at : lowest;
        highest = at > highest ? at : highest;
      }
    }
    std::int64_t count[kBandSlots];
    width_ = 0;
    for (std::int64_t at = lowest; at <= highest; ++at) {
      if (histogram_[at] == 0) continue;
      int place = width_ < kBandSlots ? width_++ : kBandSlots;
      if (place == kBandSlots) {
        // The rarest makes room, and those behind it move up.
        int rarest = 0;
        for (int r = 1; r < kBandSlots; ++r) rarest = count[r] < count[rarest] ? r : rarest;
        if (count[rarest] >= histogram_[at]) continue;
        for (int r = rarest; r + 1 < kBandSlots; ++r) {
          offset_[r] = offset_[r + 1];
          count[r] = count[r + 1];
        }
        place = kBandSlots - 1;
      }
      offset_[place] = at - K;
      count[place] = histogram_[at];
    }
    if (width_ == 0) {  // No arcs at all.
      width_ = 1;
      offset_[0] = 0;
    }
    banded_ = true;
    const std::int64_t below = -offset_[0];
    const std::int64_t above = offset_[width_ - 1];
    margin_ = below > above ? below : above;
  }

  std::int64_t states_ = 0;
  std::int64_t slots_ = 0;
  std::int64_t pitch_ = 0;
  std::int64_t margin_ = 0;
  std::int64_t odd_count_ = 0;
  const std::int64_t* predecessors_ = nullptr;
  const Real* current_ = nullptr;
  bool banded_ = false;
  bool paired_ = false;
  std::int64_t half_ = 0;
  std::int64_t free_ = 0;
  int width_ = 0;             // distances, or slots
  int planes_ = 0;            // bits of a back-pointer
  std::int64_t choices_ = 0;  // the bits that a band uses of them
  std::int64_t offset_[kBandSlots] = {};
  Buffer<std::int64_t> histogram_;
  Buffer<Real> weight_;
  Reach reach_;
  Buffer<std::int32_t> source_, odd_;
  Buffer<std::uint8_t> is_odd_;
};

}  // namespace detail

HMM_END_TARGET
