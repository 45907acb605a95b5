// Viterbi with sparse transitions.
//
//   delta[0, j] = log_initial[j] + log_emission[0, j]
//   delta[t, j] = max_r (delta[t-1, predecessors[j, r]] + log_weight[t-1, j, r]) + log_emission[t, j]
//
// Scores are relative to the best state of each frame. Additions happen in the order of the Python reference,
// and the first maximum wins, so that the paths are the same to the bit. Compile with -ffp-contract=off to
// keep that promise. Back-pointers take log2(arcs into a state) bits, one plane for each bit.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/fault.hpp"
#include "hmm/model.hpp"
#include "hmm/team.hpp"
#include "hmm/viterbi_arcs.hpp"
#include "hmm/viterbi_steps.hpp"

HMM_BEGIN_TARGET

namespace detail {

// Whether all even states read one density. That of no index is each state's own.
inline bool even_alike(const std::int64_t* emission_index, std::int64_t K) {
  if (emission_index == nullptr) return false;
  for (std::int64_t j = 2; j < K; j += 2) {
    if (emission_index[j] != emission_index[0]) return false;
  }
  return true;
}

// A few sequences.
template <typename Real>
class SparseGroup {
 public:
  // Decodes the `count` sequences in `order`, the longest first. Their arcs are `shared`, or null if each has
  // its own. Back-pointers of `segment` frames are kept at a time; where that is not all of them, the scores
  // at the beginning of each segment are kept, and a segment is computed again before the path goes through.
  // With a `beam`, of one sequence only, states whose score lies more than that below the best of their frame
  // are dropped, and nothing is computed outside of the range of the others. A team shares the frames of one
  // sequence.
  void decode(const Model<Real>& m, const ArcTable<Real>* shared, const std::int64_t* order, int count,
              std::int64_t segment, std::int64_t* states, Team& team, const Real* beam = nullptr) {
    model_ = &m;
    team_ = &team;
    beam_ = beam;
    dropped_ = false;
    sequence_[0].found = false;
    if (beam != nullptr) peaks_.reserve(m.frames);
    const std::int64_t T = m.frames;
    for (int s = 0; s < count; ++s) {
      for (std::int64_t t = 0; t < T; ++t) states[order[s] * T + t] = -1;
    }
    while (count > 0 && m.lengths[order[count - 1]] == 0) --count;
    if (count == 0) return;
    count_ = count;
    const std::int64_t steps = m.lengths[order[0]] - 1;
    const std::int64_t segments = steps == 0 ? 1 : (steps + segment - 1) / segment;
    open(shared, order, steps < segment ? steps : segment, segments > 1 ? segments : 0, states);
    for (std::int64_t g = 0; g < segments; ++g) {
      if (segments > 1) keep_mark(g);
      sweep(g * segment, g * segment + segment < steps ? g * segment + segment : steps, g == segments - 1);
    }
    for (std::int64_t g = segments - 1; g >= 0; --g) {
      const std::int64_t start = g * segment;
      const std::int64_t stop = start + segment < steps ? start + segment : steps;
      if (g < segments - 1) {
        return_to_mark(g);
        sweep(start, stop, true);
      }
      retreat(start, stop);
    }
  }

  // Whether NaN or +inf was met among the emissions; looked for only where each state reads its own. Then
  // no path was written.
  bool stray() const { return stray_; }

  // Of the sequence decoded with a beam: whether a state was dropped, and whether there is a path.
  bool dropped() const { return dropped_; }
  bool found() const { return sequence_[0].found; }

  // How far the path of the sequence decoded with a beam ever lay below the best state of its frame.
  Real depth() const {
    const Sequence& x = sequence_[0];
    const std::int64_t R = x.arcs->slots();
    Real deepest = 0;
    Real score = 0;  // the very numbers of the recursion
    for (std::int64_t t = 0; t < x.length; ++t) {
      const std::int64_t j = x.states[t];
      if (t == 0) {
        score = x.log_initial[j];
      } else {
        const std::int64_t* source = x.arcs->predecessors() + j * R;
        std::int64_t r = 0;
        while (source[r] != x.states[t - 1]) ++r;
        score = score + x.log_weight[(t - 1) * model_->weight_step + j * R + r];
      }
      score = score +
              x.log_emission[t * model_->densities + (x.emission_index == nullptr ? j : x.emission_index[j])];
      score = score - peaks_[t];
      deepest = -score > deepest ? -score : deepest;
    }
    return deepest;
  }

 private:
  // Neighbouring states that are always computed together, paired or not.
  static constexpr std::int64_t kStride = 2 * kChunk<Real>;
  // Arcs of a frame that a team shares, at least, and states that a member takes.
  static constexpr std::int64_t kLeastShared = 16000;
  static constexpr std::int64_t kLeastPart = 1024;

  struct Sequence {
    const ArcTable<Real>* arcs;
    const Real* log_initial;
    const Real* log_final;
    const Real* log_weight;
    const Real* log_emission;
    const std::int64_t* emission_index;
    const std::int32_t* index;
    std::int64_t* states;
    std::int64_t length;
    std::int64_t state;  // of the path, where it has come to
    Real* rooms[2];
    Unit<Real>* back;
    Real shift;  // the best score of the present frame
    bool possible, finished, found;
  };

  void open(const ArcTable<Real>* shared, const std::int64_t* order, std::int64_t rows, std::int64_t marks,
            std::int64_t* states) {
    const Model<Real>& m = *model_;
    const std::int64_t K = m.states;
    together_ = true;
    margin_ = 0;
    pitch_ = 0;
    units_ = 0;
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      const std::int64_t b = order[s];
      x.length = m.lengths[b];
      x.states = states + b * m.frames;
      x.log_initial = m.log_initial + b * m.initial_stride;
      x.log_final = m.log_final + b * m.final_stride;
      x.log_weight = m.log_weight + b * m.weight_stride;
      x.log_emission = m.log_emission + b * m.frames * m.densities;
      x.emission_index = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
      x.arcs = shared;
      if (shared == nullptr) {
        const std::int64_t* predecessors = m.predecessors + b * m.predecessor_stride;
        // Weights that change are set at every step, and then the layout serves all with these arcs.
        if (m.weight_step == 0 || own_of_[s] != predecessors) {
          own_[s].open(K, m.slots, predecessors, m.weight_step == 0 ? x.log_weight : nullptr,
                       even_alike(x.emission_index, K));
        }
        own_of_[s] = predecessors;
        x.arcs = &own_[s];
      }
      together_ = together_ && x.arcs->banded() && x.arcs->same_distances(*sequence_[0].arcs);
      const std::int64_t margin = padded<Real>(x.arcs->margin()) + kChunk<Real>;
      margin_ = margin > margin_ ? margin : margin_;
      pitch_ = x.arcs->pitch() > pitch_ ? x.arcs->pitch() : pitch_;
      const std::int64_t units = x.arcs->pitch() / kChunk<Real> * x.arcs->planes();
      units_ = units > units_ ? units : units_;
    }
    const std::int64_t size = pitch_ + 2 * margin_;
    rooms_.reserve(2 * size * count_);
    for (std::int64_t i = 0; i < 2 * size * count_; ++i) rooms_[i] = kNever<Real>;
    // Rows of one sequence lie behind each other: the path reads them one by one.
    back_.reserve(rows * units_ * count_);
    marks_.reserve(marks * count_ * pitch_);
    mark_.reserve(marks * count_);
    if (m.emission_index != nullptr) index_.reserve(pitch_ * count_);
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      x.rooms[0] = rooms_.data() + 2 * s * size + margin_;
      x.rooms[1] = x.rooms[0] + size;
      x.back = back_.data() + s * rows * units_;
      x.index = nullptr;
      if (x.emission_index != nullptr) {
        std::int32_t* index = index_.data() + s * pitch_;
        for (std::int64_t i = 0; i < pitch_; ++i) index[i] = 0;
        for (std::int64_t j = 0; j < K; ++j)
          index[x.arcs->place(j)] = static_cast<std::int32_t>(x.emission_index[j]);
        x.index = index;
      }
      step_[0][s] = step_for<Real, false>(*x.arcs, m);
      step_[1][s] = step_for<Real, true>(*x.arcs, m);
    }
    present_ = 0;
    stray_ = false;
    begin_ = K;
    end_ = 0;
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      x.shift = kNever<Real>;
      Real* score = x.rooms[0];
      for (std::int64_t j = 0; j < K; ++j) {
        if (!(x.log_initial[j] > kNever<Real>)) continue;
        begin_ = j < begin_ ? j : begin_;
        end_ = j + 1 > end_ ? j + 1 : end_;
        const Real first =
            x.log_initial[j] + x.log_emission[x.emission_index == nullptr ? j : x.emission_index[j]];
        score[x.arcs->place(j)] = first;
        if (first > x.shift) x.shift = first;
      }
      if (m.emission_index == nullptr) stray_ = stray_ || any_not_finite_above(x.log_emission, K);
      x.possible = x.shift > kNever<Real>;
      if (!x.possible) x.shift = 0;
      x.finished = x.found = false;
    }
    if (end_ == 0) {
      begin_ = 0;
      end_ = 1;
    }
    if (beam_ != nullptr) {
      written_[0] = {begin_, end_};
      written_[1] = {begin_, begin_};
      prune(sequence_[0], 0);
    }
    for (int s = 0; s < count_; ++s) {
      if (sequence_[s].length == 1) finish(sequence_[s]);
    }
  }

  // Frames start+1..stop, after frame `start`.
  void sweep(std::int64_t start, std::int64_t stop, bool record) {
    const Model<Real>& m = *model_;
    bool plain = m.weight_step == 0 && beam_ == nullptr;
    for (int s = 0; s < count_; ++s) {
      plain = plain && sequence_[s].arcs->odd_count() == 0 && sequence_[s].arcs->banded();
    }
    int running = count_;
    for (std::int64_t t = start + 1; t <= stop;) {
      while (running > 0 && t >= sequence_[running - 1].length) --running;
      if (m.weight_step != 0) {
        for (int s = 0; s < running; ++s)
          own_[s].set_weights(sequence_[s].log_weight + (t - 1) * m.weight_step);
      }
      const std::int64_t last = sequence_[running - 1].length - 1;
      const bool share = team_->members() > 1 && end_ - begin_ >= kLeastShared / m.slots;
      const std::int64_t frames = advance(running, plain && !share ? (last < stop ? last : stop) - t + 1 : 1);
      if (share) {
        share_step(t, start, record);
      } else if (together_) {
        step(0, running, t, frames, start, record);
      } else {
        for (int s = 0; s < running; ++s) step(s, 1, t, frames, start, record);
      }
      if (frames % 2 != 0) present_ = 1 - present_;
      if (beam_ != nullptr) prune(sequence_[0], t);
      t += frames;
      for (int s = 0; s < running; ++s) {
        if (t == sequence_[s].length && !sequence_[s].finished) finish(sequence_[s]);
      }
    }
  }

  // Widens the range of states by what steps reach, as long as that needs no more chunks; returns how many
  // steps that are, 1..most.
  std::int64_t advance(int running, std::int64_t most) {
    std::int64_t frames = 0;
    std::int64_t begin = 0, end = 0;
    for (;; ++frames) {
      if (begin_ == 0 && end_ == model_->states) return most;
      const std::int64_t first = begin_;
      const std::int64_t last = end_;
      for (int s = 0; s < running; ++s) sequence_[s].arcs->extend(first, last, begin_, end_);
      if (frames == 0) {
        begin = begin_ / kStride * kStride;
        end = (end_ + kStride - 1) / kStride * kStride;
      } else if (frames == most || begin_ < begin || end_ > end) {
        begin_ = first;
        end_ = last;
        return frames;
      }
    }
  }

  // What some frames from frame t on of `count` sequences take.
  StepArguments<Real> arguments(int first, int count, std::int64_t t, std::int64_t frames,
                                std::int64_t start) const {
    const Model<Real>& m = *model_;
    const bool paired = sequence_[first].arcs->paired();
    StepArguments<Real> a;
    a.count = count;
    for (int s = 0; s < count; ++s) {
      const Sequence& x = sequence_[first + s];
      a.arcs[s] = x.arcs;
      a.previous[s] = x.rooms[present_];
      a.score[s] = x.rooms[1 - present_];
      a.shift[s] = x.shift;
      a.worst[s] = std::numeric_limits<Real>::infinity();
      a.densities[s] = x.log_emission + t * m.densities;
      a.index[s] = x.index;
      a.back[s] = x.back + (t - start - 1) * units_;
    }
    a.units = units_;
    a.frames = frames;
    a.begin = (paired ? begin_ / 2 : begin_) / kChunk<Real> * kChunk<Real>;
    a.end = ((paired ? (end_ + 1) / 2 : end_) + kChunk<Real> - 1) / kChunk<Real> * kChunk<Real>;
    a.states = m.states;
    a.density_count = m.densities;
    a.stray = false;
    return a;
  }

  // Some frames from frame t on of `count` sequences.
  void step(int first, int count, std::int64_t t, std::int64_t frames, std::int64_t start, bool record) {
    const Model<Real>& m = *model_;
    StepArguments<Real> a = arguments(first, count, t, frames, start);
    Real shift[kSparseGroup];
    for (int s = 0; s < count; ++s) shift[s] = a.shift[s];
    if (beam_ != nullptr) {
      // What the room held two frames ago and the step does not write must not be found there.
      Range& old = written_[1 - present_];
      each_place(sequence_[0], old.begin, old.end, [&](std::int64_t i) { a.score[0][i] = kNever<Real>; });
      old = {begin_, end_};
    }
    step_[record ? 1 : 0][first](a);
    stray_ = stray_ || a.stray;
    for (int s = 0; s < count; ++s) {
      Sequence& x = sequence_[first + s];
      if (m.emission_index == nullptr) see_unread(x, t, frames, a.begin, a.end);
      Real best = a.worst[s];
      if (x.arcs->odd_count() > 0) {
        best = odd_states(x, begin_, end_, best, shift[s], t, x.back + (t - start - 1) * units_, record);
        x.shift = best > kNever<Real> ? best : Real{0};
      } else {
        x.shift = a.shift[s];
      }
      x.possible = x.possible && best > kNever<Real>;
    }
  }

  // Frame t of the only sequence, in parts of whole strides. The best score of a frame is that of its parts,
  // however it is divided.
  void share_step(std::int64_t t, std::int64_t start, bool record) {
    const Model<Real>& m = *model_;
    Sequence& x = sequence_[0];
    const StepArguments<Real> whole = arguments(0, 1, t, 1, start);
    // Emissions are looked at in all states, if each has its own.
    const bool all = m.emission_index == nullptr;
    const std::int64_t first = all ? 0 : whole.begin;
    const std::int64_t last = all ? x.arcs->pitch() : whole.end;
    constexpr std::int64_t kPartsPerMember = 4;
    std::int64_t size = (last - first) / (kPartsPerMember * team_->members()) / kStride * kStride;
    if (size < kLeastPart) size = kLeastPart;
    const std::int64_t parts = (last - first + size - 1) / size;
    parts_.reserve(parts);
    team_->share(parts, [&](std::int64_t item, int) {
      const std::int64_t from = first + item * size;
      const std::int64_t to = from + size < last ? from + size : last;
      StepArguments<Real> a = whole;
      a.begin = from > whole.begin ? from : whole.begin;
      a.end = to < whole.end ? to : whole.end;
      Part part{kNever<Real>, false};
      if (a.begin < a.end) {
        step_[record ? 1 : 0][0](a);
        part = {a.worst[0], a.stray};
        if (x.arcs->odd_count() > 0) {
          part.best = odd_states(x, a.begin > begin_ ? a.begin : begin_, a.end < end_ ? a.end : end_,
                                 part.best, x.shift, t, x.back + (t - start - 1) * units_, record);
        }
      }
      if (all) {
        const std::int64_t K = m.states;
        const Real* frame = x.log_emission + t * K;
        const auto look = [&](std::int64_t low, std::int64_t high) {
          high = high < K ? high : K;
          part.stray = part.stray || (low < high && any_not_finite_above(frame + low, high - low));
        };
        look(from, to < whole.begin ? to : whole.begin);
        look(from > whole.end ? from : whole.end, to);
      }
      parts_[item] = part;
    });
    Real best = kNever<Real>;
    for (std::int64_t item = 0; item < parts; ++item) {
      best = parts_[item].best > best ? parts_[item].best : best;
      stray_ = stray_ || parts_[item].stray;
    }
    x.shift = best > kNever<Real> ? best : Real{0};
    x.possible = x.possible && best > kNever<Real>;
  }

  // Drops the states of frame t that are too far below the best, and narrows the range to the others.
  void prune(Sequence& x, std::int64_t t) {
    using V = Vec<Real>;
    constexpr std::int64_t L = kLanes<Real>;
    peaks_[t] = x.shift;
    const V peak = splat<V>(x.shift);
    const V never = splat<V>(kNever<Real>);
    const V worst = splat<V>(-*beam_);
    std::int64_t first = end_;
    std::int64_t last = begin_;
    std::uint32_t lost = 0;
    // The states from + stride i for the places i that hold them.
    const auto look = [&](Real* score, std::int64_t from, std::int64_t stride) {
      const std::int64_t end = (end_ - from + stride - 1) / stride;
      for (std::int64_t i = (begin_ - from) / stride / L * L; i < end; i += L) {
        const V here = load<V>(score + i);
        const V kept = here - peak < worst ? never : here;
        store(score + i, kept);
        const std::uint32_t live = greater_bits(kept, never);
        lost |= greater_bits(here, kept);
        if (live == 0) continue;
        const std::int64_t lowest = from + stride * (i + __builtin_ctz(live));
        const std::int64_t highest = from + stride * (i + 31 - __builtin_clz(live));
        first = lowest < first ? lowest : first;
        last = highest + 1 > last ? highest + 1 : last;
      }
    };
    if (x.arcs->paired()) {
      look(x.rooms[present_], 0, 2);
      look(x.rooms[present_] + x.arcs->half(), 1, 2);
    } else {
      look(x.rooms[present_], 0, 1);
    }
    dropped_ = dropped_ || lost != 0;
    if (first >= last) return;  // no path has come here
    begin_ = first;
    end_ = last;
  }

  // Looks at the emissions of the states that no path has reached.
  void see_unread(const Sequence& x, std::int64_t t, std::int64_t frames, std::int64_t begin,
                  std::int64_t end) {
    const std::int64_t K = model_->states;
    if (begin == 0 && end >= K) return;
    for (const Real* frame = x.log_emission + t * K; frames > 0; --frames, frame += K) {
      stray_ = stray_ || any_not_finite_above(frame, begin) ||
               (end < K && any_not_finite_above(frame + end, K - end));
    }
  }

  // The places of the states begin..end-1, and perhaps one more.
  template <typename Work>
  static void each_place(const Sequence& x, std::int64_t begin, std::int64_t end, Work&& work) {
    if (!x.arcs->paired()) {
      for (std::int64_t j = begin; j < end; ++j) work(j);
      return;
    }
    for (std::int64_t i = begin / 2; i < (end + 1) / 2; ++i) {
      work(i);
      work(x.arcs->half() + i);
    }
  }

  void keep_mark(std::int64_t at) {
    for (int s = 0; s < count_; ++s) {
      const Sequence& x = sequence_[s];
      mark_[at * count_ + s] = {x.shift, begin_, end_};
      Real* kept = marks_.data() + (at * count_ + s) * pitch_;
      each_place(x, begin_, end_, [&](std::int64_t i) { kept[i] = x.rooms[present_][i]; });
    }
  }

  void return_to_mark(std::int64_t at) {
    for (int s = 0; s < count_; ++s) {
      Sequence& x = sequence_[s];
      const Mark& mark = mark_[at * count_ + s];
      const Real* kept = marks_.data() + (at * count_ + s) * pitch_;
      for (std::int64_t j = 0; j < pitch_; ++j) x.rooms[0][j] = x.rooms[1][j] = kNever<Real>;
      each_place(x, mark.begin, mark.end, [&](std::int64_t i) { x.rooms[present_][i] = kept[i]; });
      x.shift = mark.shift;
      begin_ = mark.begin;
      end_ = mark.end;
      written_[present_] = {begin_, end_};
      written_[1 - present_] = {begin_, begin_};
    }
  }

  // Chooses the last state.
  void finish(Sequence& x) {
    x.finished = true;
    const Real* score = x.rooms[present_];
    Real best = kNever<Real>;
    for (std::int64_t j = begin_; j < end_; ++j) {
      const Real total = (score[x.arcs->place(j)] - x.shift) + x.log_final[j];
      if (total > best) {
        best = total;
        x.state = j;
      }
    }
    x.found = x.possible && best > kNever<Real> && !stray_;
    if (x.found) x.states[x.length - 1] = x.state;
  }

  // Follows the paths from frame `stop` back to frame `start`.
  void retreat(std::int64_t start, std::int64_t stop) {
    // All four at a time as far back as they run together: each waits for its own memory.
    std::int64_t common = stop;
    bool all = count_ == kSparseGroup;
    for (int s = 0; s < count_; ++s) {
      common = sequence_[s].length - 1 < common ? sequence_[s].length - 1 : common;
      all = all && sequence_[s].found;
    }
    if (!all || common < start) common = start;
    for (int s = 0; s < count_; ++s) {
      const std::int64_t last = sequence_[s].length - 1 < stop ? sequence_[s].length - 1 : stop;
      if (sequence_[s].found) retreat<1>(sequence_ + s, start, last, common);
    }
    if (all) retreat<kSparseGroup>(sequence_, start, common, start);
  }

  // S of them, from frame `from` back to frame `to`; the first row of back-pointers leads to frame `start`.
  template <int S>
  void retreat(Sequence* sequence, std::int64_t start, std::int64_t from, std::int64_t to) const {
    const std::int64_t units = units_;
    const std::int64_t P = model_->densities;
    std::int64_t state[S];
    const Unit<Real>* row[S];
    std::int64_t* path[S];
    const Real* emission[S];
    for (int s = 0; s < S; ++s) {
      state[s] = sequence[s].state;
      row[s] = sequence[s].back + (from - start - 1) * units;
      path[s] = sequence[s].states;
      emission[s] = sequence[s].log_emission;
    }
    for (std::int64_t t = from; t > to; --t) {
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        const ArcTable<Real>& arcs = *sequence[s].arcs;
        const auto place = static_cast<std::uint64_t>(arcs.place(state[s]));
        constexpr std::uint64_t kUnit = kChunk<Real>;
        const auto planes = static_cast<unsigned>(arcs.planes());
        const Unit<Real>* unit = row[s] + place / kUnit * planes;
        const auto bit = static_cast<unsigned>(place % kUnit);
        unsigned choice = 0;
        for (unsigned p = 0; p < planes; ++p) choice |= ((unsigned{unit[p]} >> bit) & 1U) << p;
        state[s] = arcs.origin(state[s], choice);
        path[s][t - 1] = state[s];
        row[s] -= units;
        // The score of the path reads this soon.
        __builtin_prefetch(emission[s] + (t - 1) * P + (state[s] < P ? state[s] : 0));
      }
    }
    for (int s = 0; s < S; ++s) sequence[s].state = state[s];
  }

  // The states begin..end-1 with arcs outside the band, one by one, in frame t; returns the best score,
  // `best` that of the others.
  Real odd_states(const Sequence& x, std::int64_t begin, std::int64_t end, Real best, Real shift,
                  std::int64_t t, Unit<Real>* back, bool record) const {
    const std::int64_t R = x.arcs->slots();
    const int planes = x.arcs->planes();
    const Real* previous = x.rooms[present_];
    Real* score = x.rooms[1 - present_];
    const Real* densities = x.log_emission + t * model_->densities;
    for (std::int64_t i = x.arcs->odd_before(begin); i < x.arcs->odd_count() && x.arcs->odd(i) < end; ++i) {
      const std::int64_t j = x.arcs->odd(i);
      const std::int64_t* source = x.arcs->predecessors() + j * R;
      const Real* weight = x.arcs->current() + j * R;
      Real most = (previous[source[0]] - shift) + weight[0];
      std::int64_t choice = 0;
      for (std::int64_t r = 1; r < R && source[r] >= 0; ++r) {
        const Real other = (previous[source[r]] - shift) + weight[r];
        choice = other > most ? r : choice;
        most = other > most ? other : most;
      }
      most = most + densities[x.emission_index == nullptr ? j : x.emission_index[j]];
      score[j] = most;
      best = most > best ? most : best;
      if (!record) continue;
      Unit<Real>* unit = back + j / kChunk<Real> * planes;
      const auto bit = static_cast<unsigned>(1U << (j % kChunk<Real>));
      for (int p = 0; p < planes; ++p) {
        const unsigned others = unit[p] & ~bit;
        unit[p] = static_cast<Unit<Real>>(others | (((choice >> p) & 1) != 0 ? bit : 0U));
      }
    }
    return best;
  }

  struct Range {
    std::int64_t begin, end;  // states
  };
  // What a part of a frame comes to.
  struct alignas(64) Part {
    Real best;
    bool stray;
  };
  struct Mark {
    Real shift;
    std::int64_t begin, end;
  };

  const Model<Real>* model_ = nullptr;
  Team* team_ = nullptr;
  int count_ = 0;
  Sequence sequence_[kSparseGroup] = {};
  ArcTable<Real> own_[kSparseGroup];
  const std::int64_t* own_of_[kSparseGroup] = {};  // the predecessors that own_ describes
  Step<Real> step_[2][kSparseGroup] = {};          // without and with back-pointers
  bool together_ = false;                          // whether the arcs of all have one layout
  bool stray_ = false;
  const Real* beam_ = nullptr;  // null: everything is kept
  bool dropped_ = false;
  Range written_[2] = {};             // with a beam: what the rooms may hold
  int present_ = 0;                   // which of the rooms holds the present frame
  std::int64_t begin_ = 0, end_ = 0;  // the states that a path can have reached
  std::int64_t margin_ = 0;
  std::int64_t pitch_ = 0;
  std::int64_t units_ = 0;  // of back-pointers in a frame
  Buffer<Real> rooms_, marks_, peaks_;
  Buffer<Mark> mark_;
  Buffer<Part> parts_;
  Buffer<std::int32_t> index_;
  Buffer<Unit<Real>> back_;
};

}  // namespace detail

HMM_END_TARGET
