// Derivatives by the frames of sum_ij e[i, j] c[i, j], from a strip of e at a time:
//
//   by x_i   sum_j w[i, j] (x_i - y_j)         by y_j   sum_i w[i, j] (y_j - x_i)
//
// with w = 2 e for squared distances, e / c for distances, e for frames of length 1. Relative to the mean of
// y they are matrix products; what cancels there is added frame by frame, as in frame_cost.hpp.
#pragma once

#include <cstdint>

#include "hmm/buffer.hpp"
#include "hmm/frame_cost.hpp"
#include "hmm/simd.hpp"
#include "hmm/warping.hpp"

HMM_BEGIN_TARGET

namespace detail {

template <typename Real>
class FrameGradient {
 public:
  // A pair whose costs are open. `by_x` (N, D) and `by_y` (M, D) receive their derivatives; null: not wanted.
  void open(const Warping<Real>& w, const Pair<Real>& pair, Real* by_x, Real* by_y) {
    costs_ = pair.frames;
    metric_ = w.metric;
    size_ = w.size;
    width_ = padded<Real>(size_);
    m_ = pair.m;
    by_x_ = by_x;
    by_y_ = by_y;
    pitch_ = costs_->pitch();
    weight_.reserve(kStripRows * pitch_);
    first_ = 0;
    stop_ = pitch_;
    clear();
    if (by_x != nullptr) {
      sum_x_.reserve(kStripRows * width_);
      y_.reserve(m_ * width_);
      centre(costs_->y(), m_, m_, y_.data());
    }
    if (by_y != nullptr) {
      x_.reserve(kStripRows * width_);
      sum_y_.reserve(pitch_ * width_);
      column_.reserve(pitch_);
      for (std::int64_t k = 0; k < pitch_ * width_; ++k) sum_y_[k] = 0;
      for (std::int64_t k = 0; k < pitch_; ++k) column_[k] = 0;
    }
  }

  // Where e of a strip goes, zeros before.
  StripRows<Real> strip(const Strip&) { return {weight_.data(), pitch_, 0}; }

  // Takes e of a strip from there; it is 0 before step `from`.
  void add(const Strip& strip, const StripRows<const Real>& costs, std::int64_t from) {
    first_ = from - (kStripRows - 1);
    if (first_ < strip.begin[0]) first_ = strip.begin[0];
    first_ = first_ / kWidth * kWidth;
    stop_ = (strip.end[strip.rows - 1] + kWidth - 1) / kWidth * kWidth;
    Real row[kStripRows] = {};
    if (by_x_ != nullptr) {
      for (std::int64_t k = 0; k < kStripRows * width_; ++k) sum_x_[k] = 0;
    }
    for (std::int64_t k = 0; k < strip.rows; ++k) {
      if (metric_ == Metric::kEuclidean) {
        row[k] = weigh<Metric::kEuclidean>(strip, costs, k);
      } else if (metric_ == Metric::kCosine) {
        row[k] = weigh<Metric::kCosine>(strip, costs, k);
      } else {
        row[k] = weigh<Metric::kSquaredEuclidean>(strip, costs, k);
      }
    }
    const Real* const x = costs_->x() + strip.first * size_;
    if (by_x_ != nullptr) {
      const std::int64_t stop = stop_ < m_ ? stop_ : m_;
      for (std::int64_t j = first_; j < stop; j += kBlock) {
        const std::int64_t count = stop - j < kBlock ? stop - j : kBlock;
        for (std::int64_t d = 0; d < width_; d += kWidth) {
          for (std::int64_t k = 0; k < strip.rows; k += kTileRows)
            add_product(weight_.data() + k * pitch_ + j, pitch_, 1, y_.data() + j * width_ + d, count,
                        width_ - d, sum_x_.data() + k * width_ + d);
        }
      }
      for (std::int64_t k = 0; k < strip.rows; ++k) {
        for (std::int64_t d = 0; d < size_; ++d)
          by_x_[(strip.first + k) * size_ + d] =
              row[k] * (x[k * size_ + d] - costs_->mean()[d]) - sum_x_[k * width_ + d];
      }
    }
    if (by_y_ != nullptr) {
      centre(x, strip.rows, kStripRows, x_.data());
      for (std::int64_t j = first_; j < stop_; j += kTileRows) {
        for (std::int64_t d = 0; d < width_; d += kWidth)
          add_product(weight_.data() + j, 1, pitch_, x_.data() + d, strip.rows, width_ - d,
                      sum_y_.data() + j * width_ + d);
      }
    }
    clear();
  }

  // After the last strip.
  void close() {
    if (by_y_ == nullptr) return;
    for (std::int64_t j = 0; j < m_; ++j) {
      for (std::int64_t d = 0; d < size_; ++d)
        by_y_[j * size_ + d] =
            column_[j] * (costs_->y()[j * size_ + d] - costs_->mean()[d]) - sum_y_[j * width_ + d];
    }
  }

 private:
  using V = Vec<Real>;
  static constexpr std::int64_t kCount = kLanes<Real>;
  static constexpr std::int64_t kWidth = kTileColumns<Real>;
  static constexpr std::int64_t kBlock = 2 * kStripRows;  // columns whose frames stay in the first cache

  void clear() {
    for (std::int64_t k = 0; k < kStripRows; ++k) {
      for (std::int64_t j = first_; j < stop_; ++j) weight_[k * pitch_ + j] = 0;
    }
  }

  // Frames relative to the mean, each padded with zeros, up to `rows` of them.
  void centre(const Real* from, std::int64_t count, std::int64_t rows, Real* to) const {
    for (std::int64_t k = 0; k < rows; ++k) {
      for (std::int64_t d = 0; d < width_; ++d)
        to[k * width_ + d] = k < count && d < size_ ? from[k * size_ + d] - costs_->mean()[d] : Real{};
    }
  }

  // to[r][d] += sum_k a[r * row_step + k * step] b[k][d] for kTileRows rows and up to kWidth columns.
  HMM_INLINE void add_product(const Real* a, std::int64_t row_step, std::int64_t step, const Real* b,
                              std::int64_t count, std::int64_t columns, Real* to) const {
    if (columns >= kWidth) {
      add_tile<2>(a, row_step, step, b, count, to);
    } else {
      add_tile<1>(a, row_step, step, b, count, to);
    }
  }
  template <int kVectors>
  HMM_INLINE void add_tile(const Real* a, std::int64_t row_step, std::int64_t step, const Real* b,
                           std::int64_t count, Real* to) const {
    V sum[kTileRows][kVectors];
    multiply<kVectors, Real>(a, row_step, step, b, width_, count, sum);
    HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
      HMM_UNROLL for (int v = 0; v < kVectors; ++v) {
        Real* const at = to + r * width_ + v * kCount;
        store(at, load<V>(at) + sum[r][v]);
      }
    }
  }

  // Turns row k from e into w, takes out what cancels, and returns the sum of the rest.
  template <Metric kMetric>
  HMM_INLINE Real weigh(const Strip& strip, const StripRows<const Real>& costs, std::int64_t k) {
    const Real* const cost = costs.first + k * costs.pitch;
    Real* const weight = weight_.data() + k * pitch_;
    const Real x_square = costs_->x_square()[strip.first + k];
    V row{};
    for (std::int64_t j = first_; j < stop_; j += kCount) {
      const V e = load<V>(weight + j);
      const V c = load<V>(cost + j);
      const V y_square = load<V>(costs_->y_square() + j);
      V w, square;
      // Where e is 0 the cost may never have been computed.
      if constexpr (kMetric == Metric::kEuclidean) {
        w = e > 0 && c > 0 ? e / c : V{};
        square = c * c;
      } else if constexpr (kMetric == Metric::kCosine) {
        w = x_square + y_square < FrameCosts<Real>::kFar ? e : V{};
        square = 2 * c;
      } else {
        w = 2 * e;
        square = c;
      }
      const auto cancelled = w > 0 && square * FrameCosts<Real>::kCancelled <= x_square + y_square;
      if (any(cancelled)) {
        for (std::int64_t l = 0; l < kCount; ++l) {
          if (cancelled[l]) add_apart(strip.first + k, k, j + l, w[l]);
        }
        w = cancelled ? V{} : w;
      }
      store(weight + j, w);
      row += w;
      if (by_y_ != nullptr) store(column_.data() + j, load<V>(column_.data() + j) + w);
    }
    return sum(row);
  }

  // w (x_i - y_j), frame by frame.
  __attribute__((noinline)) void add_apart(std::int64_t i, std::int64_t k, std::int64_t j, Real w) {
    const Real* const x = costs_->x() + i * size_;
    const Real* const y = costs_->y() + j * size_;
    Real* const by_x = by_x_ == nullptr ? nullptr : sum_x_.data() + k * width_;
    Real* const by_y = by_y_ == nullptr ? nullptr : sum_y_.data() + j * width_;
    for (std::int64_t d = 0; by_x != nullptr && d < size_; ++d) by_x[d] -= w * (x[d] - y[d]);
    for (std::int64_t d = 0; by_y != nullptr && d < size_; ++d) by_y[d] += w * (x[d] - y[d]);
  }

  FrameCosts<Real>* costs_ = nullptr;
  Metric metric_ = Metric::kSquaredEuclidean;
  std::int64_t size_ = 0;
  std::int64_t width_ = 0;
  std::int64_t m_ = 0;
  std::int64_t pitch_ = 0;
  std::int64_t first_ = 0;
  std::int64_t stop_ = 0;
  Real* by_x_ = nullptr;
  Real* by_y_ = nullptr;
  Buffer<Real> weight_, x_, y_, sum_x_, sum_y_, column_;
};

}  // namespace detail

HMM_END_TARGET
