// Which states feed which, arranged for vectors.
//
// Runs of neighbouring states whose arcs come from the same distances are bands: their messages are read with
// shifted loads. A missing arc inside a band counts as one of weight zero, so that a whole CTC graph is one
// band of the distances 0, -1, -2. Other states stand in groups of sixteen with equally many arcs, and a
// state that many arcs enter stands alone, its arcs side by side.
#pragma once

#include <cstdint>

#include "hmm/buffer.hpp"

HMM_BEGIN_TARGET

// States begin..end-1; slot r of state j is the arc from (or to) state j + offset[r], and its weight stands
// at position first + r * pitch + (j - begin). Offsets ascend.
struct Band {
  static constexpr int kSlots = 4;
  std::int32_t begin;
  std::int32_t end;
  std::int32_t slots;
  std::int32_t offset[kSlots];
  std::int64_t first;
  std::int64_t pitch;
};

// Up to sixteen states with at most `slots` arcs each: lane l is the state Arcs::target(group.target + l),
// and its slot r stands at position first + 16 r + l.
struct Group {
  std::int32_t slots;
  std::int32_t lanes;
  std::int32_t lowest;
  std::int32_t highest;
  std::int64_t first;
  std::int64_t target;
};

// One state with its arcs side by side at the positions first..first+slots-1.
struct Fan {
  std::int32_t state;
  std::int32_t arcs;
  std::int32_t slots;  // arcs, rounded up to whole vectors
  std::int64_t first;
};

// Neighbouring states whose sums are formed together, so that they stay in the nearest cache, and by one
// thread.
struct Chunk {
  std::int32_t begin;
  std::int32_t end;
  std::int32_t first_band, end_band;
  std::int32_t first_group, end_group;
  std::int32_t first_fan, end_fan;
};

class Arcs {
 public:
  static constexpr std::int32_t kWidth = 16;  // lanes of a group, at least those of any vector
  static constexpr std::int32_t kMargin =
      64;  // states before the first and behind the last that a band may read
  static constexpr std::int32_t kChunk = 1024;      // states in a chunk
  static constexpr std::int32_t kShortestBand = 8;  // shorter runs gain nothing
  static constexpr std::int32_t kGroupSlots = 8;    // states with more arcs stand alone

  // The arcs into each state, or those out of it, from a table of predecessors (K, R), -1 in unused slots.
  void build(std::int64_t K, std::int64_t R, const std::int64_t* predecessors, bool entering) {
    list(K, R, predecessors, entering);
    arrange(static_cast<std::int32_t>(K));
    place();
  }

  std::int32_t chunks() const { return chunk_count_; }
  const Chunk& chunk(std::int32_t c) const { return chunks_[c]; }
  const Band& band(std::int32_t i) const { return bands_[i]; }
  const Group& group(std::int32_t i) const { return groups_[i]; }
  const Fan& fan(std::int32_t i) const { return fans_[i]; }
  std::int64_t positions() const { return positions_; }
  std::int32_t longest_fan() const { return longest_fan_; }
  // Entry of the (K, R) table that stands at a position; -1 for none.
  const std::int64_t* entry() const { return entry_.data(); }
  // State at the other end of the arc at a position behind the bands; -1 for none.
  const std::int32_t* source(std::int64_t position) const {
    return source_.data() + (position - band_positions_);
  }
  const std::int32_t* target(std::int64_t index) const { return target_.data() + index; }

 private:
  static std::int64_t whole(std::int64_t n) { return (n + kWidth - 1) / kWidth * kWidth; }

  // Arcs of state j: first_[j]..first_[j+1]-1 of other_ and slot_, other_ ascending.
  void list(std::int64_t K, std::int64_t R, const std::int64_t* predecessors, bool entering) {
    first_.reserve(K + 1);
    other_.reserve(K * R);
    slot_.reserve(K * R);
    if (entering) {
      std::int64_t arc = 0;
      for (std::int64_t j = 0; j < K; ++j) {
        first_[j] = arc;
        for (std::int64_t r = 0; r < R && predecessors[j * R + r] >= 0; ++r, ++arc) {
          other_[arc] = static_cast<std::int32_t>(predecessors[j * R + r]);
          slot_[arc] = j * R + r;
        }
      }
      first_[K] = arc;
      return;
    }
    for (std::int64_t j = 0; j <= K; ++j) first_[j] = 0;
    for (std::int64_t j = 0; j < K; ++j) {
      for (std::int64_t r = 0; r < R && predecessors[j * R + r] >= 0; ++r) ++first_[predecessors[j * R + r]];
    }
    std::int64_t arc = 0;  // first_[j] becomes where the arcs of j end, and moves down to where they begin
    for (std::int64_t j = 0; j <= K; ++j) first_[j] = arc += first_[j];
    for (std::int64_t j = K; j-- > 0;) {
      std::int64_t used = 0;
      while (used < R && predecessors[j * R + used] >= 0) ++used;
      for (std::int64_t r = used; r-- > 0;) {
        const std::int64_t at = --first_[predecessors[j * R + r]];
        other_[at] = static_cast<std::int32_t>(j);
        slot_[at] = j * R + r;
      }
    }
  }

  std::int32_t count(std::int32_t j) const { return static_cast<std::int32_t>(first_[j + 1] - first_[j]); }

  // Adds state j to the end of a band, if its arcs fit.
  bool absorb(Band& band, std::int32_t j, std::int32_t K) const {
    if (count(j) > Band::kSlots) return false;
    Band more = band;
    for (std::int64_t arc = first_[j]; arc < first_[j + 1]; ++arc) {
      const std::int32_t offset = other_[arc] - j;
      std::int32_t r = 0;
      while (r < more.slots && more.offset[r] < offset) ++r;
      if (r < more.slots && more.offset[r] == offset) continue;
      if (more.slots == Band::kSlots) return false;
      for (std::int32_t s = more.slots++; s > r; --s) more.offset[s] = more.offset[s - 1];
      more.offset[r] = offset;
    }
    if (more.slots > 0 &&
        (more.begin + more.offset[0] < -kMargin || j + more.offset[more.slots - 1] >= K + kMargin))
      return false;
    band = more;
    band.end = j + 1;
    return true;
  }

  // Divides the states into chunks, and each chunk into bands, groups and fans.
  void arrange(std::int32_t K) {
    const std::int32_t chunks = (K + kChunk - 1) / kChunk;
    chunks_.reserve(chunks);
    bands_.reserve(K / kShortestBand + chunks + 1);
    groups_.reserve(K / kWidth + chunks * kGroupSlots + 1);
    fans_.reserve(K);
    loose_.reserve(K);
    chunk_count_ = chunks;
    positions_ = 0;
    longest_fan_ = 0;
    std::int32_t bands = 0;
    std::int64_t loose = 0;
    target_count_ = 0;
    for (std::int32_t c = 0; c < chunks; ++c) {
      Chunk& chunk = chunks_[c];
      chunk.begin = c * kChunk;
      chunk.end = K - chunk.begin < kChunk ? K : chunk.begin + kChunk;
      chunk.first_band = bands;
      chunk.first_group = static_cast<std::int32_t>(loose);  // for the moment: where its loose states begin
      for (std::int32_t begin = chunk.begin; begin < chunk.end;) {
        Band band{begin, begin, 0, {}, 0, 0};
        std::int32_t j = begin;
        while (j < chunk.end && absorb(band, j, K)) ++j;
        const std::int32_t length = band.end - band.begin;
        if (length < kShortestBand && length < chunk.end - chunk.begin) {
          loose_[loose++] = begin++;
          continue;
        }
        if (band.slots == 0) band.slots = 1;  // no arcs at all: one of weight zero, from the state itself
        band.pitch = whole(length);
        band.first = positions_;
        positions_ += band.slots * band.pitch;
        bands_[bands++] = band;
        begin = band.end;
      }
      chunk.end_band = bands;
      chunk.end_group = static_cast<std::int32_t>(loose);
    }
    band_positions_ = positions_;
    std::int32_t groups = 0, fans = 0;
    target_.reserve(loose + (chunks * kGroupSlots + 1) * std::int64_t{kWidth});
    for (std::int32_t c = 0; c < chunks; ++c) {
      Chunk& chunk = chunks_[c];
      const std::int32_t first = chunk.first_group, last = chunk.end_group;
      chunk.first_group = groups;
      chunk.first_fan = fans;
      for (std::int32_t slots = 1; slots <= kGroupSlots; ++slots) {
        Group group{slots, 0, 0, 0, 0, 0};
        for (std::int32_t i = first; i < last; ++i) {
          const std::int32_t j = loose_[i];
          if (count(j) != slots && (slots != 1 || count(j) != 0)) continue;
          if (group.lanes == 0) {
            group.lowest = j;
            group.target = target_count_;
            group.first = positions_;
            target_count_ += kWidth;
            positions_ += slots * kWidth;
          }
          group.highest = j;
          target_[group.target + group.lanes++] = j;
          if (group.lanes == kWidth) {
            groups_[groups++] = group;
            group.lanes = 0;
          }
        }
        if (group.lanes > 0) groups_[groups++] = group;
      }
      for (std::int32_t i = first; i < last; ++i) {
        const std::int32_t j = loose_[i];
        if (count(j) <= kGroupSlots) continue;
        Fan fan{j, count(j), static_cast<std::int32_t>(whole(count(j))), positions_};
        positions_ += fan.slots;
        longest_fan_ = fan.slots > longest_fan_ ? fan.slots : longest_fan_;
        fans_[fans++] = fan;
      }
      chunk.end_group = groups;
      chunk.end_fan = fans;
    }
  }

  // Writes down which arc stands where.
  void place() {
    entry_.reserve(positions_);
    source_.reserve(positions_ - band_positions_);
    for (std::int64_t p = 0; p < positions_; ++p) entry_[p] = -1;
    for (std::int64_t p = band_positions_; p < positions_; ++p) source_[p - band_positions_] = -1;
    for (std::int32_t c = 0; c < chunk_count_; ++c) {
      const Chunk& chunk = chunks_[c];
      for (std::int32_t i = chunk.first_band; i < chunk.end_band; ++i) {
        const Band& band = bands_[i];
        for (std::int32_t j = band.begin; j < band.end; ++j) {
          std::int32_t r = 0;
          for (std::int64_t arc = first_[j]; arc < first_[j + 1]; ++arc) {
            while (band.offset[r] != other_[arc] - j) ++r;
            entry_[band.first + r * band.pitch + (j - band.begin)] = slot_[arc];
          }
        }
      }
      for (std::int32_t i = chunk.first_group; i < chunk.end_group; ++i) {
        const Group& group = groups_[i];
        for (std::int32_t l = 0; l < group.lanes; ++l) {
          const std::int32_t j = target_[group.target + l];
          for (std::int32_t r = 0; r < count(j); ++r)
            put(group.first + r * std::int64_t{kWidth} + l, first_[j] + r);
        }
      }
      for (std::int32_t i = chunk.first_fan; i < chunk.end_fan; ++i) {
        const Fan& fan = fans_[i];
        for (std::int32_t r = 0; r < fan.arcs; ++r) put(fan.first + r, first_[fan.state] + r);
      }
    }
  }

  void put(std::int64_t position, std::int64_t arc) {
    entry_[position] = slot_[arc];
    source_[position - band_positions_] = other_[arc];
  }

  Buffer<std::int64_t> first_, slot_;
  Buffer<std::int32_t> other_, loose_;
  Buffer<Chunk> chunks_;
  Buffer<Band> bands_;
  Buffer<Group> groups_;
  Buffer<Fan> fans_;
  Buffer<std::int64_t> entry_;
  Buffer<std::int32_t> source_, target_;
  std::int32_t chunk_count_ = 0;
  std::int32_t longest_fan_ = 0;
  std::int64_t positions_ = 0;
  std::int64_t band_positions_ = 0;
  std::int64_t target_count_ = 0;
};

// How far a path can have come from a range of states in one step: a superset, in constant time.
class Reach {
 public:
  void build(std::int64_t K, std::int64_t R, const std::int64_t* predecessors) {
    after_high_.reserve(K);
    after_low_.reserve(K);
    before_high_.reserve(K);
    before_low_.reserve(K);
    const auto none = static_cast<std::int32_t>(K);
    for (std::int64_t j = 0; j < K; ++j) {
      after_high_[j] = before_high_[j] = -1;
      after_low_[j] = before_low_[j] = none;
    }
    for (std::int64_t j = 0; j < K; ++j) {
      const auto target = static_cast<std::int32_t>(j);
      for (std::int64_t r = 0; r < R && predecessors[j * R + r] >= 0; ++r) {
        const auto source = static_cast<std::int32_t>(predecessors[j * R + r]);
        after_high_[source] = target;  // targets ascend
        if (after_low_[source] == none) after_low_[source] = target;
        before_high_[j] = source;  // so do predecessors
        if (r == 0) before_low_[j] = source;
      }
    }
    for (std::int64_t j = 1; j < K; ++j) {
      after_high_[j] = greater(after_high_[j], after_high_[j - 1]);
      before_high_[j] = greater(before_high_[j], before_high_[j - 1]);
      const std::int64_t i = K - 1 - j;
      after_low_[i] = less(after_low_[i], after_low_[i + 1]);
      before_low_[i] = less(before_low_[i], before_low_[i + 1]);
    }
  }

  // Makes lo..hi-1 the states that can follow it, or precede it; lo >= hi: none.
  void after(std::int32_t& lo, std::int32_t& hi) const { move(after_low_, after_high_, lo, hi); }
  void before(std::int32_t& lo, std::int32_t& hi) const { move(before_low_, before_high_, lo, hi); }

 private:
  static std::int32_t less(std::int32_t a, std::int32_t b) { return a < b ? a : b; }
  static std::int32_t greater(std::int32_t a, std::int32_t b) { return a > b ? a : b; }
  static void move(const Buffer<std::int32_t>& low, const Buffer<std::int32_t>& high, std::int32_t& lo,
                   std::int32_t& hi) {
    if (lo >= hi) return;
    lo = low[lo];
    hi = high[hi - 1] + 1;
  }

  Buffer<std::int32_t> after_high_, after_low_, before_high_, before_low_;
};

HMM_END_TARGET
