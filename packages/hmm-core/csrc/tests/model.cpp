// find_fault: names the first broken rule, reads no padding, trusts what is right.
#include "hmm/model.hpp"

#include <vector>

#include "check.hpp"
#include "hmm/fault.hpp"

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A Sparse model of two sequences of up to three frames, two states with two slots, three densities.
struct Example {
  std::vector<double> log_initial{0, -kInfinity};
  std::vector<std::int64_t> predecessors{0, -1, 0, 1};
  std::vector<double> log_weight{-1, kNaN, -1, -2};  // The weight of an unused slot is not read.
  std::vector<double> log_emission = std::vector<double>(2 * 3 * 3, -1.5);
  std::vector<std::int64_t> lengths{3, 1};
  std::vector<double> log_final{-kInfinity, 0};
  std::vector<std::int64_t> emission_index{2, 0};

  Example() {
    for (std::size_t i = 12; i < 18; ++i) log_emission[i] = kNaN;  // padding
    log_emission[0] = -kInfinity;
  }

  hmm::Model<double> model() const {
    hmm::Model<double> m;
    m.batch = 2;
    m.frames = 3;
    m.states = 2;
    m.slots = 2;
    m.densities = 3;
    m.log_initial = log_initial.data();
    m.predecessors = predecessors.data();
    m.log_weight = log_weight.data();
    m.log_emission = log_emission.data();
    m.lengths = lengths.data();
    m.log_final = log_final.data();
    m.emission_index = emission_index.data();
    return m;
  }
  hmm::Fault::Kind fault() const { return hmm::find_fault(model()).kind; }
};

template <typename Change>
hmm::Fault::Kind after(Change change) {
  Example example;
  CHECK(example.fault() == hmm::Fault::kNone);
  change(example);
  return example.fault();
}

}  // namespace

int main() {
  using hmm::Fault;
  CHECK(after([](Example& e) { e.lengths[1] = 4; }) == Fault::kLength);
  CHECK(after([](Example& e) { e.lengths[0] = -1; }) == Fault::kLength);
  CHECK(after([](Example& e) { e.lengths[0] = 0; }) == Fault::kNone);
  CHECK(after([](Example& e) { e.emission_index[1] = 3; }) == Fault::kIndex);
  CHECK(after([](Example& e) { e.emission_index[0] = -1; }) == Fault::kIndex);
  CHECK(after([](Example& e) { e.log_initial[1] = kNaN; }) == Fault::kInitial);
  CHECK(after([](Example& e) { e.log_initial[0] = kInfinity; }) == Fault::kInitial);
  CHECK(after([](Example& e) { e.predecessors[3] = 2; }) == Fault::kPredecessor);
  CHECK(after([](Example& e) { e.log_weight[2] = kInfinity; }) == Fault::kWeight);
  CHECK(after([](Example& e) { e.log_weight[0] = kNaN; }) == Fault::kWeight);
  CHECK(after([](Example& e) { e.log_emission[11] = kNaN; }) == Fault::kEmission);
  CHECK(after([](Example& e) { e.log_emission[8] = kInfinity; }) == Fault::kEmission);
  CHECK(after([](Example& e) { e.log_final[0] = kNaN; }) == Fault::kFinal);

  Example example;
  hmm::Model<double> dense = example.model();
  const std::vector<double> matrix{-1, -2, -kInfinity, 0};
  dense.predecessors = nullptr;
  dense.slots = 0;
  dense.log_weight = matrix.data();
  CHECK(dense.dense() && dense.weights() == 4);
  CHECK(hmm::find_fault(dense).kind == Fault::kNone);
  dense.log_weight = example.log_weight.data();
  CHECK(hmm::find_fault(dense).kind == Fault::kWeight);
  // Nothing is read of a batch without sequences.
  hmm::Model<double> none;
  none.states = 2;
  none.slots = 2;
  none.frames = 3;
  none.densities = 3;
  CHECK(hmm::find_fault(none).kind == Fault::kNone);
}
