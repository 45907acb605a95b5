// Costs of aligning frames with frames: matrix products whose tiles stay in registers.
//
//   |x_i - y_j|^2 = |x_i|^2 + |y_j|^2 - 2 x_i . y_j
//
// The frames are relative to the mean of y first. Where the difference cancels (below 1/64 of the sum) it is
// computed frame by frame instead, so that equal frames cost exactly 0. A cost depends on its two frames and
// that mean alone.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/simd.hpp"
#include "hmm/warping_model.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Rows that are computed together, here and in the recursions.
constexpr std::int64_t kStripRows = 32;

// A tile of kTileRows by two vectors of sums.
template <typename Real>
constexpr std::int64_t kTileColumns = 2 * kLanes<Real>;
constexpr std::int64_t kTileRows = HMM_VECTOR_BYTES == 64 ? 8 : 4;

// sum[r][v] = sum_k a[r * row_step + k * step] b[k * b_step + v * kLanes ...], k below `count`.
template <int kVectors, typename Real>
HMM_INLINE void multiply(const Real* a, std::int64_t row_step, std::int64_t step, const Real* b,
                         std::int64_t b_step, std::int64_t count, Vec<Real> (&sum)[kTileRows][kVectors]) {
  using V = Vec<Real>;
  V s[kTileRows][kVectors];
  HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
    HMM_UNROLL for (int v = 0; v < kVectors; ++v) s[r][v] = V{};
  }
  for (std::int64_t k = 0; k < count; ++k) {
    V row[kVectors];
    HMM_UNROLL for (int v = 0; v < kVectors; ++v) row[v] = load<V>(b + v * kLanes<Real>);
    HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
      const V factor = splat<V>(a[r * row_step]);
      HMM_UNROLL for (int v = 0; v < kVectors; ++v) s[r][v] = madd(factor, row[v], s[r][v]);
    }
    a += step;
    b += b_step;
  }
  HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
    HMM_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = s[r][v];
  }
}

template <typename Real>
Real squared_distance(const Real* x, const Real* y, std::int64_t size) {
  using V = Vec<Real>;
  V sum{};
  std::int64_t d = 0;
  for (; d + kLanes<Real> <= size; d += kLanes<Real>) {
    const V difference = load<V>(x + d) - load<V>(y + d);
    sum = madd(difference, difference, sum);
  }
  Real total = hmm::sum(sum);
  for (; d < size; ++d) total += (x[d] - y[d]) * (x[d] - y[d]);
  return total;
}

template <typename V>
HMM_INLINE V square_root(V x) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(x[0]));
  for (int l = 0; l < kCount; ++l) {
    if constexpr (sizeof(x[0]) == 4) {
      x[l] = __builtin_sqrtf(x[l]);
    } else {
      x[l] = __builtin_sqrt(x[l]);
    }
  }
  return x;
}

// Costs of one pair after another, kStripRows rows at a time.
template <typename Real>
class FrameCosts {
 public:
  // `keep`: strips that were asked for once need not be computed again, where there is room for all.
  void open(const Warping<Real>& w, std::int64_t b, bool keep) {
    size_ = w.size;
    metric_ = w.metric;
    m_ = w.lengths_y[b];
    x_ = w.x + b * w.rows * size_;
    y_ = w.y + b * w.columns * size_;
    mean_.reserve(size_);
    for (std::int64_t d = 0; d < size_; ++d) mean_[d] = 0;
    for (std::int64_t j = 0; j < m_; ++j) {
      for (std::int64_t d = 0; d < size_; ++d) mean_[d] += y_[j * size_ + d];
    }
    for (std::int64_t d = 0; d < size_ && m_ > 0; ++d) mean_[d] /= static_cast<Real>(m_);
    const std::int64_t panels = (m_ + kWidth - 1) / kWidth;
    y_panel_.reserve(panels * kWidth * size_);
    y_square_.reserve(panels * kWidth);
    for (std::int64_t p = 0; p < panels; ++p) {
      const std::int64_t count = m_ - p * kWidth < kWidth ? m_ - p * kWidth : kWidth;
      interlace(y_ + p * kWidth * size_, count, kWidth, y_panel_.data() + p * kWidth * size_,
                y_square_.data() + p * kWidth);
    }
    x_panel_.reserve(kStripRows * size_);
    // Rows that are not whole pages apart share no place in the cache.
    pitch_ = panels * kWidth + kCount;
    const std::int64_t rows = (w.lengths_x[b] + kStripRows - 1) / kStripRows * kStripRows;
    x_square_.reserve(rows);
    kept_ = keep && rows * pitch_ <= kMostKept;
    done_ = 0;
    strips_.reserve((kept_ ? rows : kStripRows) * pitch_);
  }

  // Rows of pitch() numbers: columns begin..end-1 of the rows first, first+1, ..., where `first` is a
  // multiple of kStripRows. They stay until the next strip, or pair, is asked for.
  const Real* strip(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end) {
    Real* const to = strips_.data() + (kept_ ? first * pitch_ : 0);
    if (!kept_ || first >= done_) rows(first, count, begin, end, to, pitch_);
    if (first >= done_) done_ = first + kStripRows;
    return to;
  }

  // The same for a strip whose columns are asked for one after another.
  const Real* open_strip(std::int64_t first, std::int64_t count) {
    take(first, count);
    return strips_.data();
  }
  void extend_strip(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end) {
    columns(first, count, begin, end, strips_.data(), pitch_);
  }

  // Columns begin..end-1, and some around them up to a multiple of kWidth.
  void rows(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end, Real* cost,
            std::int64_t pitch) {
    take(first, count);
    columns(first, count, begin, end, cost, pitch);
  }

  std::int64_t size() const { return size_; }
  std::int64_t pitch() const { return pitch_; }
  const Real* x() const { return x_; }
  const Real* y() const { return y_; }
  const Real* mean() const { return mean_.data(); }
  // |x_i|^2 of the rows that were asked for, |y_j|^2, relative to the mean; kFar for a frame without a
  // direction.
  const Real* x_square() const { return x_square_.data(); }
  const Real* y_square() const { return y_square_.data(); }

  // Costs below 1 / kCancelled of |x_i|^2 + |y_j|^2 have lost digits in the product.
  static constexpr Real kCancelled = 64;
  static constexpr Real kFar = Real(1e30);
  static constexpr std::int64_t kWidth = kTileColumns<Real>;

 private:
  using V = Vec<Real>;
  static constexpr std::int64_t kCount = kLanes<Real>;
  static constexpr std::int64_t kMostKept = (std::int64_t{1} << 24) / static_cast<std::int64_t>(sizeof(Real));

  // Puts `count` frames side by side: [d][width], 0 beyond count.
  void interlace(const Real* from, std::int64_t count, std::int64_t width, Real* to, Real* square) const {
    for (std::int64_t w = 0; w < width; ++w) square[w] = 0;
    for (std::int64_t d = 0; d < size_; ++d) {
      for (std::int64_t w = 0; w < count; ++w) to[d * width + w] = from[w * size_ + d] - mean_[d];
      for (std::int64_t w = count; w < width; ++w) to[d * width + w] = 0;
      for (std::int64_t w = 0; w < width; ++w) square[w] += to[d * width + w] * to[d * width + w];
    }
    for (std::int64_t w = 0; w < count && metric_ == Metric::kCosine; ++w) {
      bool zero = true;
      for (std::int64_t d = 0; d < size_; ++d) zero = zero && from[w * size_ + d] == 0;
      if (zero) square[w] = kFar;
    }
  }

  HMM_INLINE void tile(std::int64_t first, std::int64_t count, std::int64_t p, std::int64_t t, Real* cost,
                       std::int64_t pitch) {
    V square[kTileRows][2];
    multiply<2, Real>(x_panel_.data() + t * kTileRows * size_, 1, kTileRows,
                      y_panel_.data() + p * kWidth * size_, kWidth, size_, square);
    const V y_square[2] = {load<V>(y_square_.data() + p * kWidth),
                           load<V>(y_square_.data() + p * kWidth + kCount)};
    const Real* x_square = x_square_.data() + first + t * kTileRows;
    V room = splat<V>(std::numeric_limits<Real>::max());
    HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
      HMM_UNROLL for (int v = 0; v < 2; ++v) {
        const V total = x_square[r] + y_square[v];
        square[r][v] = total - 2 * square[r][v];
        room = min(room, square[r][v] * kCancelled - total);
      }
    }
    const std::int64_t rows = count - t * kTileRows < kTileRows ? count - t * kTileRows : kTileRows;
    const std::int64_t columns = m_ - p * kWidth < kWidth ? m_ - p * kWidth : kWidth;
    if (any(room <= 0)) again(first + t * kTileRows, rows, p, columns, x_square, square);
    if (metric_ == Metric::kEuclidean) {
      HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
        HMM_UNROLL for (int v = 0; v < 2; ++v) square[r][v] = square_root(square[r][v]);
      }
    } else if (metric_ == Metric::kCosine) {
      HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
        HMM_UNROLL for (int v = 0; v < 2; ++v) square[r][v] =
            square[r][v] > kFar / 2 ? splat<V>(Real(1)) : square[r][v] * Real(0.5);
      }
    }
    Real* to = cost + t * kTileRows * pitch + p * kWidth;
    if (rows == kTileRows && columns == kWidth) {
      HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
        HMM_UNROLL for (int v = 0; v < 2; ++v) store(to + r * pitch + v * kCount, square[r][v]);
      }
    } else {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < columns; ++c) to[r * pitch + c] = square[r][c / kCount][c % kCount];
      }
    }
  }

  // Interlaces rows of x.
  void take(std::int64_t first, std::int64_t count) {
    for (std::int64_t t = 0; t < count; t += kTileRows) {
      interlace(x_ + (first + t) * size_, count - t < kTileRows ? count - t : kTileRows, kTileRows,
                x_panel_.data() + t * size_, x_square_.data() + first + t);
    }
  }

  void columns(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end, Real* cost,
               std::int64_t pitch) {
    for (std::int64_t p = begin / kWidth; p * kWidth < end; ++p) {
      for (std::int64_t t = 0; t * kTileRows < count; ++t) tile(first, count, p, t, cost, pitch);
    }
  }

  // What cancelled, frame by frame.
  __attribute__((noinline)) void again(std::int64_t first, std::int64_t rows, std::int64_t p,
                                       std::int64_t columns, const Real* x_square,
                                       V (&square)[kTileRows][2]) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t j = p * kWidth + c;
        const Real now = square[r][c / kCount][c % kCount];
        if (now * kCancelled <= x_square[r] + y_square_[j])
          square[r][c / kCount][c % kCount] =
              squared_distance(x_ + (first + r) * size_, y_ + j * size_, size_);
      }
    }
  }

  std::int64_t size_ = 0;
  std::int64_t m_ = 0;
  std::int64_t pitch_ = 0;
  std::int64_t done_ = 0;
  bool kept_ = false;
  Metric metric_ = Metric::kSquaredEuclidean;
  const Real* x_ = nullptr;
  const Real* y_ = nullptr;
  Buffer<Real> mean_, y_panel_, y_square_, x_panel_, x_square_, strips_;
};

}  // namespace detail

// Costs (B, N, M), +inf in padding.
template <typename Real>
void frame_cost(const Warping<Real>& w, const Executor& executor, Real* cost) {
  const double work = static_cast<double>(w.batch) * static_cast<double>(w.rows) *
                      static_cast<double>(w.columns) * static_cast<double>(w.size + 20) / 30;
  const int threads = useful_threads(executor, w.batch, work);
  PerWorker<detail::FrameCosts<Real>> costs(threads);
  parallel_for(executor, w.batch, threads, [&](std::int64_t b, int worker) {
    Real* to = cost + b * w.rows * w.columns;
    const std::int64_t n = w.lengths_x[b];
    const std::int64_t m = w.lengths_y[b];
    costs[worker].open(w, b, false);
    for (std::int64_t i = 0; i < n; i += detail::kStripRows) {
      const std::int64_t count = n - i < detail::kStripRows ? n - i : detail::kStripRows;
      costs[worker].rows(i, count, 0, m, to + i * w.columns, w.columns);
    }
    for (std::int64_t i = 0; i < w.rows; ++i) {
      for (std::int64_t j = i < n ? m : 0; j < w.columns; ++j)
        to[i * w.columns + j] = std::numeric_limits<Real>::infinity();
    }
  });
}

HMM_END_TARGET
