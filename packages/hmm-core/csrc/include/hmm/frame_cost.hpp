// Costs of aligning frames with frames, and their derivatives: matrix products whose tiles stay in registers.
//
//   c[i, j] = |x_i - y_j|^2 = |x_i|^2 + |y_j|^2 - 2 x_i . y_j,     or its square root
//
// Both are relative to the mean of y first. Where the difference cancels (below 1/64 of the sum) it is
// computed frame by frame instead, so that equal frames cost exactly 0.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/warping.hpp"

namespace hmm {

// Pairs of sequences of frames: addresses of contiguous memory that the caller owns.
template <typename Real>
struct FramePairs {
  std::int64_t batch = 0;    // B
  std::int64_t rows = 0;     // N
  std::int64_t columns = 0;  // M
  std::int64_t size = 0;     // D
  bool root = false;         // the square root of the cost

  const Real* x = nullptr;                  // (B, N, D)
  const Real* y = nullptr;                  // (B, M, D)
  const std::int64_t* lengths_x = nullptr;  // (B,), 0..N
  const std::int64_t* lengths_y = nullptr;  // (B,), 0..M
};

}  // namespace hmm

HMM_BEGIN_TARGET

namespace detail {

// A tile of kTileRows by two vectors of sums.
template <typename Real>
constexpr std::int64_t kTileColumns = 2 * kLanes<Real>;
constexpr std::int64_t kTileRows = HMM_VECTOR_BYTES == 64 ? 8 : 4;

// sum[r][v] = sum_k a[k][r] b[k][v], with a of kTileRows and b of kTileColumns numbers for each k.
template <typename Real>
HMM_INLINE void multiply(const Real* a, const Real* b, std::int64_t count, Vec<Real> (&sum)[kTileRows][2]) {
  using V = Vec<Real>;
  V s[kTileRows][2];
  HMM_UNROLL for (int r = 0; r < kTileRows; ++r) s[r][0] = s[r][1] = V{};
  for (std::int64_t k = 0; k < count; ++k) {
    const V b0 = load<V>(b);
    const V b1 = load<V>(b + kLanes<Real>);
    HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
      const V factor = splat<V>(a[r]);
      s[r][0] = madd(factor, b0, s[r][0]);
      s[r][1] = madd(factor, b1, s[r][1]);
    }
    a += kTileRows;
    b += kTileColumns<Real>;
  }
  HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
    sum[r][0] = s[r][0];
    sum[r][1] = s[r][1];
  }
}

// Copies `count` vectors of a (count, size) matrix side by side: [d][width], 0 beyond count.
template <typename Real>
void interlace(const Real* from, std::int64_t count, std::int64_t size, std::int64_t width, const Real* mean,
               Real* to, Real* square) {
  for (std::int64_t w = 0; w < width; ++w) square[w] = 0;
  for (std::int64_t d = 0; d < size; ++d) {
    for (std::int64_t w = 0; w < count; ++w) to[d * width + w] = from[w * size + d] - mean[d];
    for (std::int64_t w = count; w < width; ++w) to[d * width + w] = 0;
    for (std::int64_t w = 0; w < width; ++w) square[w] += to[d * width + w] * to[d * width + w];
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

// Costs of one pair, kStripRows rows at a time.
template <typename Real>
class FrameCosts {
 public:
  void open(const FramePairs<Real>& frames, std::int64_t b) {
    frames_ = &frames;
    n_ = frames.lengths_x[b];
    m_ = frames.lengths_y[b];
    x_ = frames.x + b * frames.rows * frames.size;
    y_ = frames.y + b * frames.columns * frames.size;
    const std::int64_t D = frames.size;
    mean_.reserve(D);
    for (std::int64_t d = 0; d < D; ++d) mean_[d] = 0;
    for (std::int64_t j = 0; j < m_; ++j) {
      for (std::int64_t d = 0; d < D; ++d) mean_[d] += y_[j * D + d];
    }
    for (std::int64_t d = 0; d < D && m_ > 0; ++d) mean_[d] /= static_cast<Real>(m_);
    const std::int64_t panels = (m_ + kWidth - 1) / kWidth;
    y_panel_.reserve(panels * kWidth * D);
    y_square_.reserve(panels * kWidth);
    for (std::int64_t p = 0; p < panels; ++p) {
      const std::int64_t count = m_ - p * kWidth < kWidth ? m_ - p * kWidth : kWidth;
      interlace(y_ + p * kWidth * D, count, D, kWidth, mean_.data(), y_panel_.data() + p * kWidth * D,
                y_square_.data() + p * kWidth);
    }
    x_panel_.reserve(kStripRows * D);
    x_square_.reserve(kStripRows);
  }

  // Columns begin..end-1, and some around them up to a multiple of kWidth, of the rows first, first+1, ...
  void rows(std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end, Real* cost,
            std::int64_t pitch) {
    const std::int64_t D = frames_->size;
    const std::int64_t tiles = (count + kTileRows - 1) / kTileRows;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t left = count - t * kTileRows;
      interlace(x_ + (first + t * kTileRows) * D, left < kTileRows ? left : kTileRows, D, kTileRows,
                mean_.data(), x_panel_.data() + t * kTileRows * D, x_square_.data() + t * kTileRows);
    }
    for (std::int64_t p = begin / kWidth; p * kWidth < end; ++p) {
      for (std::int64_t t = 0; t < tiles; ++t) tile(first, count, p, t, cost, pitch);
    }
  }

  static constexpr std::int64_t kWidth = kTileColumns<Real>;

 private:
  using V = Vec<Real>;
  static constexpr std::int64_t kCount = kLanes<Real>;
  static constexpr Real kCancelled = 64;

  HMM_INLINE void tile(std::int64_t first, std::int64_t count, std::int64_t p, std::int64_t t, Real* cost,
                       std::int64_t pitch) {
    const std::int64_t D = frames_->size;
    V square[kTileRows][2];
    multiply<Real>(x_panel_.data() + t * kTileRows * D, y_panel_.data() + p * kWidth * D, D, square);
    const V y_square[2] = {load<V>(y_square_.data() + p * kWidth),
                           load<V>(y_square_.data() + p * kWidth + kCount)};
    V room = splat<V>(std::numeric_limits<Real>::max());
    HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
      HMM_UNROLL for (int v = 0; v < 2; ++v) {
        const V total = x_square_[t * kTileRows + r] + y_square[v];
        square[r][v] = total - 2 * square[r][v];
        room = min(room, square[r][v] * kCancelled - total);
      }
    }
    const std::int64_t rows = count - t * kTileRows < kTileRows ? count - t * kTileRows : kTileRows;
    const std::int64_t columns = m_ - p * kWidth < kWidth ? m_ - p * kWidth : kWidth;
    if (any(room <= 0))
      again(first + t * kTileRows, rows, p, columns, x_square_.data() + t * kTileRows, square);
    if (frames_->root) {
      HMM_UNROLL for (int r = 0; r < kTileRows; ++r) {
        HMM_UNROLL for (int v = 0; v < 2; ++v) square[r][v] = square_root(square[r][v]);
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

  // What cancelled, frame by frame.
  __attribute__((noinline)) void again(std::int64_t first, std::int64_t rows, std::int64_t p,
                                       std::int64_t columns, const Real* x_square,
                                       V (&square)[kTileRows][2]) {
    const std::int64_t D = frames_->size;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t j = p * kWidth + c;
        const Real now = square[r][c / kCount][c % kCount];
        if (now * kCancelled <= x_square[r] + y_square_[j])
          square[r][c / kCount][c % kCount] = squared_distance(x_ + (first + r) * D, y_ + j * D, D);
      }
    }
  }

  const FramePairs<Real>* frames_ = nullptr;
  std::int64_t n_ = 0;
  std::int64_t m_ = 0;
  const Real* x_ = nullptr;
  const Real* y_ = nullptr;
  Buffer<Real> mean_, y_panel_, y_square_, x_panel_, x_square_;
};

}  // namespace detail

// Costs (B, N, M), +inf in padding.
template <typename Real>
void frame_cost(const FramePairs<Real>& f, const Executor& executor, Real* cost) {
  const double work = static_cast<double>(f.batch) * static_cast<double>(f.rows) *
                      static_cast<double>(f.columns) * static_cast<double>(f.size + 20) / 30;
  const int threads = useful_threads(executor, f.batch, work);
  PerWorker<detail::FrameCosts<Real>> costs(threads);
  parallel_for(executor, f.batch, threads, [&](std::int64_t b, int worker) {
    Real* to = cost + b * f.rows * f.columns;
    const std::int64_t n = f.lengths_x[b];
    const std::int64_t m = f.lengths_y[b];
    costs[worker].open(f, b);
    for (std::int64_t i = 0; i < n; i += detail::kStripRows) {
      const std::int64_t count = n - i < detail::kStripRows ? n - i : detail::kStripRows;
      costs[worker].rows(i, count, 0, m, to + i * f.columns, f.columns);
    }
    for (std::int64_t i = 0; i < f.rows; ++i) {
      for (std::int64_t j = i < n ? m : 0; j < f.columns; ++j)
        to[i * f.columns + j] = std::numeric_limits<Real>::infinity();
    }
  });
}

HMM_END_TARGET
