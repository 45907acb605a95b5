// Dynamic time warping: the cheapest monotone alignment of two sequences.
//
//   symmetric1   D[i, j] = min(D[i-1, j-1], D[i, j-1], D[i-1, j]) + c[i, j]
//   symmetric2   D[i, j] = min(D[i-1, j-1] + 2 c[i, j], min(D[i, j-1], D[i-1, j]) + c[i, j])
//   asymmetric   D[i, j] = min(D[i-1, j], D[i-1, j-1], D[i-1, j-2]) + c[i, j]
//
// from D[0, 0] = c[0, 0]; the first of equals wins. Two bits for each cell remember the choice. The additions
// are those of the Python reference, in its order.
//
// Costs of frames are not negative: a cell that is further away than some path costs as a whole is on no best
// path. So a path is looked for first, in a band around that of every eighth frame; then only cells that are
// no further away are computed, and their costs with them. Distances and paths remain the same to the bit.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "hmm/warping.hpp"

namespace hmm {

enum class StepPattern : int { kSymmetric1 = 0, kSymmetric2 = 1, kAsymmetric = 2 };

}  // namespace hmm

HMM_BEGIN_TARGET

namespace detail {

// Aligns one pair after another, keeping its buffers.
template <typename Real>
class Warper {
 public:
  // Returns the distance, +inf without a path, NaN if a cost in the band is NaN or -inf. `path`, if not null,
  // receives (row, column) of each step, then -1 up to `room` steps.
  Real align(const Pair<Real>& pair, StepPattern pattern, std::int64_t* path, std::int64_t room,
             std::int64_t* path_length) {
    std::int64_t length = 0;
    Real distance = kInfinity;
    if (pair.n == 0 || pair.m == 0) {
      if (pair.n == pair.m) distance = 0;
    } else {
      const bool keep = path != nullptr;
      switch (pattern) {
        case StepPattern::kSymmetric1:
          distance = keep ? symmetric<false, true>(pair) : symmetric<false, false>(pair);
          break;
        case StepPattern::kSymmetric2:
          distance = keep ? symmetric<true, true>(pair) : symmetric<true, false>(pair);
          break;
        default:
          distance = keep ? rows<true>(pair) : rows<false>(pair);
          break;
      }
      if (keep && distance < kInfinity)
        length =
            pattern == StepPattern::kAsymmetric ? trace_rows(pair, path) : trace_strips(pair, path, room);
    }
    if (path != nullptr) {
      for (std::int64_t i = 2 * length; i < 2 * room; ++i) path[i] = -1;
      *path_length = length;
    }
    return distance;
  }

 private:
  using V = Vec<Real>;
  using U = UIntVec<Real>;
  using Word = typename Unsigned<Real>::Int;
  static constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  static constexpr std::int64_t kCount = kLanes<Real>;
  static constexpr int kVectors = kStripVectors<Real>;
  // Choices in one word.
  static constexpr std::int64_t kChoices = static_cast<std::int64_t>(sizeof(Word)) * 4;
  static constexpr std::int64_t kPadding = kStripRows + kChoices;
  enum Choice : int { kDiagonal = 0, kLeft = 1, kUp = 2 };
  // Frames in one of a coarse pair, frames on either side of its path, frames from where on that is
  // worthwhile.
  static constexpr std::int64_t kCoarse = 8;
  static constexpr std::int64_t kAround = 4;
  static constexpr std::int64_t kLong = 8 * kStripRows;

  static U choice(int code) {
    return static_cast<Word>(static_cast<Word>(code) << (sizeof(Word) * 8 - 2)) - U{};
  }

  template <bool kDouble, bool kKeep>
  Real symmetric(const Pair<Real>& pair) {
    if (pair.cost == nullptr && pair.begin == nullptr && pair.n >= kLong && pair.m >= kLong) {
      const Real limit = some_path<kDouble>(pair);
      if (limit < kInfinity) return strips<kDouble, kKeep, true>(pair, limit);
    }
    return strips<kDouble, kKeep, false>(pair, kInfinity);
  }

  // The cost of a path that is good, but need not be the best.
  template <bool kDouble>
  Real some_path(const Pair<Real>& pair) {
    Warping<Real> coarse;
    coarse.batch = 1;
    coarse.rows = (pair.n + kCoarse - 1) / kCoarse;
    coarse.columns = (pair.m + kCoarse - 1) / kCoarse;
    coarse.size = pair.frames->size();
    coarse.x = means(pair.frames->x(), pair.n, coarse.size, coarse_x_);
    coarse.y = means(pair.frames->y(), pair.m, coarse.size, coarse_y_);
    coarse.lengths_x = &coarse.rows;
    coarse.lengths_y = &coarse.columns;
    const std::int64_t room = coarse.rows + coarse.columns - 1;
    std::int64_t length = 0;
    coarse_path_.reserve(2 * room);
    align(Pair<Real>(coarse, 0, coarse_costs_), StepPattern::kSymmetric1, coarse_path_.data(), room, &length);
    if (length == 0) return kInfinity;
    begin_.reserve(pair.n);
    end_.reserve(pair.n);
    for (std::int64_t s = 0; s < length; ++s) {
      const std::int64_t row = coarse_path_[2 * s], column = coarse_path_[2 * s + 1];
      const bool enters = s == 0 || coarse_path_[2 * s - 2] < row;
      for (std::int64_t i = row * kCoarse; i < (row + 1) * kCoarse && i < pair.n; ++i) {
        if (enters) begin_[i] = column * kCoarse > kAround ? column * kCoarse - kAround : 0;
        end_[i] = (column + 1) * kCoarse + kAround;
        if (end_[i] > pair.m) end_[i] = pair.m;
      }
    }
    Pair<Real> band = pair;
    band.begin = begin_.data();
    band.end = end_.data();
    return strips<kDouble, false, false>(band, kInfinity);
  }

  // Means of kCoarse frames each.
  static const Real* means(const Real* frames, std::int64_t count, std::int64_t size, Buffer<Real>& to) {
    to.reserve((count + kCoarse - 1) / kCoarse * size);
    for (std::int64_t i = 0; i < count; i += kCoarse) {
      const std::int64_t some = count - i < kCoarse ? count - i : kCoarse;
      Real* const mean = to.data() + i / kCoarse * size;
      for (std::int64_t d = 0; d < size; ++d) mean[d] = 0;
      for (std::int64_t k = i; k < i + some; ++k) {
        for (std::int64_t d = 0; d < size; ++d) mean[d] += frames[k * size + d] / static_cast<Real>(some);
      }
    }
    return to.data();
  }

  // kPruned: of frames, and without a band; only cells that are at most `limit` away, which that of some path
  // is, need be right.
  template <bool kDouble, bool kKeep, bool kPruned>
  Real strips(const Pair<Real>& pair, Real limit) {
    const V infinity = splat<V>(kInfinity);
    const U left_code = choice(kLeft), up_code = choice(kUp);
    // The row above the strip; the first columns are written by rows that have not begun.
    row_.reserve(pair.m + 2 * kPadding);
    for (std::int64_t j = 0; j < pair.m + 2 * kPadding; ++j) row_[j] = kInfinity;
    Real* row = row_.data() + kPadding;
    Strip strip;
    Watch<Real> watch;
    const std::int64_t count = pair.strips();
    if (kKeep) lay_out(pair);
    alignas(64) Real result[kStripRows];
    V tile[kVectors][kChoices];
    // Columns of the row above outside begin..last are too far away.
    std::int64_t begin = 0, last = -1;
    for (std::int64_t index = 0; index < count; ++index) {
      pair.template open<Real>(index, strip, begin);
      V current[kVectors], diagonal[kVectors];
      U packed[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        current[v] = diagonal[v] = infinity;
        packed[v] = U{};
      }
      const StripRows<const Real> costs = kPruned ? pair.open_costs(strip) : pair.costs(strip, 1);
      std::int64_t computed = begin;
      if (kPruned) extend(pair, strip, computed);
      if (kPruned && kKeep) strip_start_[index] = strip.start;
      if (index > 0) {
        diagonal[0][kCount - 1] = row[strip.start - 1];
      } else if (strip.start == 0 && strip.end[0] > 0 && costs.first[0] < kInfinity) {
        // So that the first cell costs c whatever its weight is.
        diagonal[0][kCount - 1] = kDouble ? -costs.first[0] : 0;
      }
      Word* back = kKeep ? back_.data() + strip_words_[index] : nullptr;
      for (std::int64_t t = strip.start; t < strip.stop; t += kChoices) {
        while (kPruned && computed < t + kChoices && computed < pair.m) extend(pair, strip, computed);
        for (int v = 0; v < kVectors; ++v) {
          for (std::int64_t s = 0; s < kChoices; s += kCount)
            load_skewed(costs, strip, v, t + s, watch, tile[v] + s);
        }
        const std::int64_t steps = strip.stop - t < kChoices ? strip.stop - t : kChoices;
        for (std::int64_t s = 0; s < steps; ++s) {
          V up[kVectors];
          up[0] = slide_down(current[0], splat<V>(row[t + s]));
          HMM_UNROLL for (int v = 1; v < kVectors; ++v) up[v] = slide_down(current[v], current[v - 1]);
          HMM_UNROLL for (int v = 0; v < kVectors; ++v) {
            const V left = current[v];
            const V c = tile[v][s];
            U code;
            if (kDouble) {
              const V straight = min(up[v], left);
              const V once = straight + c;
              const V twice = diagonal[v] + (c + c);
              current[v] = min(once, twice);
              if (kKeep) code = once < twice ? (up[v] < left ? up_code : left_code) : U{};
            } else {
              const V first = min(left, diagonal[v]);
              current[v] = min(up[v], first) + c;
              if (kKeep) code = up[v] < first ? up_code : (left < diagonal[v] ? left_code : U{});
            }
            if (kKeep) packed[v] = (packed[v] >> 2) | code;
            diagonal[v] = up[v];
          }
          row[t + s - (kStripRows - 1)] = current[kVectors - 1][0];
        }
        if (kKeep) {
          for (int v = 0; v < kVectors; ++v) {
            if (steps < kChoices) packed[v] = packed[v] >> static_cast<int>(2 * (kChoices - steps));
            store(back, packed[v]);
            back += kCount;
          }
        }
        if (kPruned && t + steps > last) {
          V least = infinity;
          for (int v = 0; v < kVectors; ++v) least = min(least, min(current[v], diagonal[v]));
          if (!any(least <= limit)) strip.stop = t + steps;
        }
      }
      if (kPruned) {
        for (std::int64_t j = strip.stop - kStripRows + 1; j < strip.stop; ++j) {
          if (j < pair.m) row[j] = kInfinity;
        }
        last = strip.stop < pair.m ? strip.stop : pair.m;
        while (last >= begin && !(row[last] <= limit)) --last;
        while (begin < last && !(row[begin] <= limit)) ++begin;
      }
      for (int v = 0; v < kVectors; ++v) store(result + v * kCount, current[v]);
    }
    if (watch.wrong()) return std::numeric_limits<Real>::quiet_NaN();
    // The last step of the last strip was at the last column of its last row.
    if (strip.stop == strip.start || strip.end[strip.rows - 1] < pair.m) return kInfinity;
    const std::int64_t k = strip.rows - 1;
    return result[k / kCount * kCount + kCount - 1 - k % kCount];
  }

  // Computes the costs of some more columns.
  static void extend(const Pair<Real>& pair, const Strip& strip, std::int64_t& computed) {
    const std::int64_t end = (computed / FrameCosts<Real>::kWidth + 1) * FrameCosts<Real>::kWidth;
    pair.frames->extend_strip(strip.first, strip.rows, computed, end < pair.m ? end : pair.m);
    computed = end;
  }

  // Where the choices of each strip stand.
  void lay_out(const Pair<Real>& pair) {
    const std::int64_t count = pair.strips();
    strip_words_.reserve(count);
    strip_start_.reserve(count);
    Strip strip;
    std::int64_t words = 0;
    for (std::int64_t index = 0; index < count; ++index) {
      pair.template open<Real>(index, strip);
      strip_words_[index] = words;
      strip_start_[index] = strip.start;
      words += (strip.steps() + kChoices - 1) / kChoices * kStripRows;
    }
    back_.reserve(words);
  }

  std::int64_t trace_strips(const Pair<Real>& pair, std::int64_t* path, std::int64_t room) const {
    std::int64_t i = pair.n - 1;
    std::int64_t j = pair.m - 1;
    std::int64_t at = room;
    for (;;) {
      --at;
      path[2 * at] = i;
      path[2 * at + 1] = j;
      if (i == 0 && j == 0) break;
      const std::int64_t index = i / kStripRows;
      const std::int64_t k = i % kStripRows;
      const std::int64_t step = j + k - strip_start_[index];
      const Word word = back_[strip_words_[index] + step / kChoices * kStripRows + k / kCount * kCount +
                              kCount - 1 - k % kCount];
      const int code = static_cast<int>(word >> (2 * (step % kChoices))) & 3;
      i -= code == kLeft ? 0 : 1;
      j -= code == kUp ? 0 : 1;
    }
    std::memmove(path, path + 2 * at, static_cast<std::size_t>(room - at) * 2 * sizeof(std::int64_t));
    return room - at;
  }

  // Asymmetric: each row needs the row before it only.
  template <bool kKeep>
  Real rows(const Pair<Real>& pair) {
    const std::int64_t blocks = (pair.m + kCount * kChoices - 1) / (kCount * kChoices);
    const std::int64_t width = blocks * kCount * kChoices;
    row_.reserve(2 * (width + kPadding));
    Real* previous = row_.data() + kPadding;
    Real* current = previous + width + kPadding;
    for (std::int64_t j = 0; j < 2 * (width + kPadding); ++j) row_[j] = kInfinity;
    if (kKeep) back_.reserve(pair.n * blocks * kCount);
    Watch<Real> watch;
    const U one = choice(1), two = choice(2);
    if (pair.first_column(0) == 0) previous[0] = 0;
    Strip strip;
    StripRows<const Real> costs{};
    for (std::int64_t i = 0; i < pair.n; ++i) {
      const std::int64_t k = i % kStripRows;
      if (k == 0) {
        pair.template open<Real>(i / kStripRows, strip);
        costs = pair.costs(strip, 1);
      }
      const Real* cost = costs.first + k * costs.pitch;
      const std::int64_t begin = pair.first_column(i);
      const std::int64_t end = pair.last_column(i);
      for (std::int64_t block = 0; block < blocks; ++block) {
        U packed{};
        for (std::int64_t s = 0; s < kChoices; ++s) {
          const std::int64_t j = (block * kChoices + s) * kCount;
          V c = splat<V>(kInfinity);
          if (j >= begin && j + kCount <= end) {
            c = load<V>(cost + j);
          } else {
            for (std::int64_t l = 0; l < kCount; ++l) {
              if (j + l >= begin && j + l < end) c[l] = cost[j + l];
            }
          }
          watch.see(c);
          const V stay = load<V>(previous + j);
          const V next = load<V>(previous + j - 1);
          const V skip = load<V>(previous + j - 2);
          const V first = min(next, stay);
          store(current + j, min(skip, first) + c);
          if (kKeep) packed = (packed >> 2) | (skip < first ? two : (next < stay ? one : U{}));
        }
        if (kKeep) store(back_.data() + (i * blocks + block) * kCount, packed);
      }
      if (i == 0) {  // Only the first cell begins a path.
        for (std::int64_t j = 1; j < pair.m; ++j) current[j] = kInfinity;
      }
      Real* const swapped = previous;
      previous = current;
      current = swapped;
    }
    return watch.wrong() ? std::numeric_limits<Real>::quiet_NaN() : previous[pair.m - 1];
  }

  std::int64_t trace_rows(const Pair<Real>& pair, std::int64_t* path) const {
    const std::int64_t blocks = (pair.m + kCount * kChoices - 1) / (kCount * kChoices);
    std::int64_t j = pair.m - 1;
    for (std::int64_t i = pair.n - 1;; --i) {
      path[2 * i] = i;
      path[2 * i + 1] = j;
      if (i == 0) return pair.n;
      const std::int64_t step = j / kCount;
      const Word word = back_[(i * blocks + step / kChoices) * kCount + j % kCount];
      j -= static_cast<int>(word >> (2 * (step % kChoices))) & 3;
    }
  }

  Buffer<Real> row_;
  Buffer<Word> back_;
  Buffer<std::int64_t> strip_words_;
  Buffer<std::int64_t> strip_start_;
  FrameCosts<Real> coarse_costs_;
  Buffer<Real> coarse_x_, coarse_y_;
  Buffer<std::int64_t> coarse_path_, begin_, end_;
};

}  // namespace detail

// Distances (B,), and unless `path` is null the paths (B, N+M-1, 2) and their lengths (B,).
template <typename Real>
void dtw(const Warping<Real>& w, StepPattern pattern, const Executor& executor, Real* distance,
         std::int64_t* path, std::int64_t* path_length) {
  const double cells =
      static_cast<double>(w.batch) * static_cast<double>(w.rows) * static_cast<double>(w.columns);
  const int threads = useful_threads(executor, w.batch, cells * static_cast<double>(w.size + 8) / 32);
  const std::int64_t room = w.rows + w.columns > 0 ? w.rows + w.columns - 1 : 0;
  PerWorker<detail::FrameCosts<Real>> frames(threads);
  PerWorker<detail::Warper<Real>> warpers(threads);
  parallel_for(executor, w.batch, threads, [&](std::int64_t b, int worker) {
    distance[b] = warpers[worker].align(detail::Pair<Real>(w, b, frames[worker]), pattern,
                                        path == nullptr ? nullptr : path + b * room * 2, room,
                                        path == nullptr ? nullptr : path_length + b);
  });
}

HMM_END_TARGET
