// A block of sequences that are read together, frame by frame, in either direction.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "hmm/dense_rows.hpp"
#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/model.hpp"

HMM_BEGIN_TARGET

namespace dense {

// Rows of a block. Which sequences share a block changes no bit of their results.
constexpr std::int64_t kRows = 8;
// Where every step has a table that all sequences share, more of them use it once it is laid out.
constexpr std::int64_t kRowsPerStep = 32;

template <typename Real>
std::int64_t most_rows(const Model<Real>& m) {
  if (m.weight_stride != 0) return 1;
  return m.weight_step != 0 ? kRowsPerStep : kRows;
}

// Elementary operations, about a nanosecond each, of a frame of one sequence, and of a pass over a batch.
template <typename Real>
double frame_work(const Model<Real>& m) {
  const auto states = static_cast<double>(m.states);
  return (5.0 + states) * (1.0 + states / 32.0);
}
template <typename Real>
double work(const Model<Real>& m) {
  return static_cast<double>(m.batch) * static_cast<double>(m.frames) * frame_work(m);
}

// The table of one direction, laid out once for all, or once for a sequence, or again for every step.
template <typename Real>
class Transitions {
 public:
  void open(const Model<Real>& m, bool transposed, const Table<Real>* shared, Team& team) {
    model_ = &m;
    team_ = &team;
    transposed_ = transposed;
    shared_ = shared;
    address_ = nullptr;
  }
  // For the step from frame t to t + 1 of sequence b.
  const Table<Real>& at(std::int64_t b, std::int64_t t) {
    if (shared_ != nullptr) return *shared_;
    const Real* address = model_->log_weight + b * model_->weight_stride + t * model_->weight_step;
    if (address != address_) {
      own_.build(address, model_->states, transposed_, [&](std::int64_t panels, auto&& fill) {
        team_->share(panels, [&](std::int64_t panel, int) { fill(panel); });
      });
    }
    address_ = address;
    return own_;
  }

 private:
  const Model<Real>* model_ = nullptr;
  Team* team_ = nullptr;
  bool transposed_ = false;
  const Table<Real>* shared_ = nullptr;
  const Real* address_ = nullptr;
  Table<Real> own_;
};

template <typename Real>
bool one_table(const Model<Real>& m) {
  return m.weight_stride == 0 && m.weight_step == 0;
}

// The sequences of a block, longest first, so that those that have a frame t come first.
template <typename Real>
class Block {
 public:
  void open(const Model<Real>& m, std::int64_t rows) {
    model_ = &m;
    sequence_.reserve(rows);
  }
  void take(const std::int64_t* sequences, std::int64_t rows) {
    rows_ = rows;
    for (std::int64_t n = 0; n < rows; ++n) {
      std::int64_t at = n;
      for (; at > 0 && model_->lengths[sequence_[at - 1]] < model_->lengths[sequences[n]]; --at)
        sequence_[at] = sequence_[at - 1];
      sequence_[at] = sequences[n];
    }
  }
  std::int64_t rows() const { return rows_; }
  std::int64_t sequence(std::int64_t r) const { return sequence_[r]; }
  std::int64_t length(std::int64_t r) const { return model_->lengths[sequence_[r]]; }
  std::int64_t longest() const { return rows_ == 0 ? 0 : length(0); }
  // Rows that have a frame t.
  std::int64_t active(std::int64_t t) const {
    std::int64_t n = rows_;
    while (n > 0 && length(n - 1) <= t) --n;
    return n;
  }
  const Real* initial(std::int64_t r) const {
    return model_->log_initial + sequence(r) * model_->initial_stride;
  }
  const Real* final(std::int64_t r) const { return model_->log_final + sequence(r) * model_->final_stride; }
  const Real* emission(std::int64_t r, std::int64_t t) const {
    return model_->log_emission + (sequence(r) * model_->frames + t) * model_->densities;
  }
  const std::int64_t* index(std::int64_t r) const {
    return model_->emission_index == nullptr ? nullptr
                                             : model_->emission_index + sequence(r) * model_->index_stride;
  }

 private:
  const Model<Real>* model_ = nullptr;
  Buffer<std::int64_t> sequence_;
  std::int64_t rows_ = 0;
};

// Forward messages of a block.
template <typename Real>
class ForwardPass {
 public:
  void open(const Model<Real>& m, const Table<Real>* shared, std::int64_t rows, Team& team) {
    transitions_.open(m, false, shared, team);
    rows_.open(rows, m.states, team);
    final_mantissa_.reserve(padded<Real>(m.states));
    final_exponent_.reserve(padded<Real>(m.states));
    product_.reserve(padded<Real>(m.states));
    states_ = m.states;
  }

  // Frames begin..end-1, the messages of frame begin-1 being there; calls after(row, t) for each.
  template <typename After>
  void run(const Block<Real>& block, std::int64_t begin, std::int64_t end, After&& after) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t active = block.active(t);
      if (active == 0) return;
      const Table<Real>* table = nullptr;
      if (t == 0) {
        for (std::int64_t r = 0; r < active; ++r) rows_.start(r, block.initial(r));
      } else {
        table = &transitions_.at(block.sequence(0), t - 1);
        rows_.advance(*table, 0, active);
      }
      for (std::int64_t r = 0; r < active; ++r) rows_.read(r, block.emission(r, t), block.index(r), 1);
      rows_.emit(active, table);
      for (std::int64_t r = 0; r < active; ++r) after(r, t);
    }
  }

  // Log-likelihood of a row whose last frame was the latest.
  double log_likelihood(std::int64_t r, const Real* log_final) {
    return total(rows_.message(r), rows_.base(r), log_final);
  }

  // Log of the sum of a message, relative to 2^base, times exp(log_final).
  double total(Numbers<Real> message, std::int64_t base, const Real* log_final) {
    for (std::int64_t j = 0; j < states_; j += kLanes<Real>) {
      const Extended<Real> x = exp_extended(load_first<Vec<Real>>(log_final + j, lanes_from<Real>(j, states_),
                                                                  -std::numeric_limits<Real>::infinity()));
      store(final_mantissa_.data() + j, x.m);
      store(final_exponent_.data() + j, x.e);
    }
    const Numbers<Real> final{final_mantissa_.data(), final_exponent_.data(), states_};
    Real sum;
    const std::int64_t exponent = exact_products(message, final, product_.data(), &sum);
    if (sum == 0) return -std::numeric_limits<double>::infinity();
    return std::log(static_cast<double>(sum)) + static_cast<double>(exponent + base) * kLn2;
  }

  Rows<Real>& rows() { return rows_; }

 private:
  Transitions<Real> transitions_;
  Rows<Real> rows_;
  Buffer<Real> final_mantissa_, product_;
  Buffer<IntOf<Real>> final_exponent_;
  std::int64_t states_ = 0;
};

// log(numbers * 2^base), rounded once.
template <typename Real>
void write_log(Numbers<Real> numbers, std::int64_t base, Real* to) {
  for (std::int64_t j = 0; j < numbers.states; j += kLanes<Real>) {
    const std::int64_t n = lanes_from<Real>(j, numbers.states);
    const Extended<Real> x = numbers.at(j);
    const Vec<Real> log_mantissa = log(x.m);
    for (std::int64_t l = 0; l < n; ++l) {
      to[j + l] = static_cast<Real>(static_cast<double>(log_mantissa[l]) +
                                    static_cast<double>(static_cast<std::int64_t>(x.e[l]) + base) * kLn2);
    }
  }
}

template <typename Real>
void fill(Real* to, std::int64_t n, Real value) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = value;
}

// Nanoseconds of a frame that a member of a team must have.
constexpr double kLeastShare = 3000;

// Threads that share the frames of `rows` sequences at a time, where there are fewer independent items of
// work than threads.
template <typename Real>
int members(const Model<Real>& m, const Executor& executor, std::int64_t items, std::int64_t rows,
            double effort) {
  if (items >= executor.threads) return 1;
  const std::int64_t together = rows < m.batch ? rows : m.batch;
  return useful_members(executor, static_cast<double>(together) * frame_work(m), kLeastShare, effort);
}

// Calls body(worker, sequences, count, rows, team) for blocks of `count` <= rows sequences; each thread, or
// team, has a Worker of its own. `alike`: the sequences of a block are about equally long, otherwise the
// blocks are.
template <typename Worker, typename Real, typename Body>
void for_blocks(const Model<Real>& m, const Executor& executor, std::int64_t rows, bool alike, double effort,
                Body&& body) {
  if (m.batch == 0) return;
  const int together = members(m, executor, m.batch, rows, effort);
  if (together == 1) {
    // Smaller blocks where there are threads enough for all.
    const int threads = useful_threads(executor, m.batch, effort);
    const std::int64_t share = (m.batch + threads - 1) / threads;
    if (rows > share) rows = share;
  }
  const std::int64_t blocks = (m.batch + rows - 1) / rows;
  LongestFirst order(m.lengths, m.batch, m.frames);
  if (!alike) order.deal(blocks, [&](std::int64_t block) { return block < blocks ? block * rows : m.batch; });
  for_each_item<Worker>(
      executor, blocks, together, effort, [&](std::int64_t item, Worker& worker, Team& team) {
        const std::int64_t first = item * rows;
        body(worker, order.data() + first, m.batch - first < rows ? m.batch - first : rows, rows, team);
      });
}

}  // namespace dense

HMM_END_TARGET
