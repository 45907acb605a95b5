// Readers of the two files that align needs: models (.safetensors) and features (.npy). Both refuse what is
// not exactly as it must be, with a message that names the file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

// A value of JSON. Numbers are natural numbers here; a model file has no others.
struct Json {
  enum Kind { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };
  Kind kind = kNull;
  std::uint64_t number = 0;
  std::string string;
  std::vector<Json> array;
  std::map<std::string, Json> object;

  const Json& at(const std::string& key) const {
    const auto found = object.find(key);
    if (kind != kObject || found == object.end()) throw std::runtime_error("has no \"" + key + "\"");
    return found->second;
  }
  const std::string& text() const {
    if (kind != kString) throw std::runtime_error("holds something else where a string must be");
    return string;
  }
  std::uint64_t count() const {
    if (kind != kNumber) throw std::runtime_error("holds something else where a number must be");
    return number;
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : next_(text.data()), end_(text.data() + text.size()) {}

  Json read() {
    const Json value = read_value(0);
    skip_space();
    if (next_ != end_) fail();
    return value;
  }

 private:
  [[noreturn]] static void fail() { throw std::runtime_error("holds damaged JSON"); }

  void skip_space() {
    while (next_ != end_ && (*next_ == ' ' || *next_ == '\n' || *next_ == '\t' || *next_ == '\r')) ++next_;
  }
  char peek() {
    skip_space();
    if (next_ == end_) fail();
    return *next_;
  }
  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++next_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail();
  }

  Json read_value(int depth) {
    if (depth > 20) fail();
    Json value;
    const char first = peek();
    if (first == '{') {
      value.kind = Json::kObject;
      expect('{');
      if (take('}')) return value;
      do {
        if (peek() != '"') fail();
        const std::string key = read_string();
        expect(':');
        if (!value.object.emplace(key, read_value(depth + 1)).second) fail();
      } while (take(','));
      expect('}');
    } else if (first == '[') {
      value.kind = Json::kArray;
      expect('[');
      if (take(']')) return value;
      do {
        value.array.push_back(read_value(depth + 1));
      } while (take(','));
      expect(']');
    } else if (first == '"') {
      value.kind = Json::kString;
      value.string = read_string();
    } else if (first >= '0' && first <= '9') {
      value.kind = Json::kNumber;
      for (; next_ != end_ && *next_ >= '0' && *next_ <= '9'; ++next_) {
        if (value.number > (UINT64_MAX - 9) / 10) fail();
        value.number = value.number * 10 + static_cast<std::uint64_t>(*next_ - '0');
      }
    } else {
      read_word(first == 't' ? "true" : first == 'f' ? "false" : "null");
      value.kind = first == 't' ? Json::kTrue : first == 'f' ? Json::kFalse : Json::kNull;
    }
    return value;
  }

  void read_word(const char* word) {
    for (; *word != '\0'; ++word, ++next_)
      if (next_ == end_ || *next_ != *word) fail();
  }

  std::string read_string() {
    expect('"');
    std::string text;
    while (next_ != end_ && *next_ != '"') {
      char c = *next_++;
      if (c == '\\') {
        if (next_ == end_) fail();
        c = *next_++;
        switch (c) {
          case '"':
          case '\\':
          case '/':
            break;
          case 'n':
            c = '\n';
            break;
          case 't':
            c = '\t';
            break;
          default:  // Other escapes do not occur in the names that are looked up.
            c = '?';
        }
      }
      text.push_back(c);
    }
    if (next_ == end_) fail();
    ++next_;
    return text;
  }

  const char* next_;
  const char* end_;
};

// Numbers with a shape, the last axis fastest.
struct Tensor {
  std::vector<std::uint64_t> shape;
  std::vector<double> values;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot be opened");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Product of a shape, or an error where it exceeds what `bytes` bytes can hold.
inline std::uint64_t checked_size(const std::vector<std::uint64_t>& shape, std::uint64_t width,
                                  std::uint64_t bytes) {
  std::uint64_t size = 1;
  for (const std::uint64_t extent : shape) {
    if (extent != 0 && size > bytes / extent) throw std::runtime_error("is shorter than its shapes say");
    size *= extent;
  }
  if (size * width != bytes) throw std::runtime_error("has shapes and bytes that do not fit each other");
  return size;
}

template <typename Real>
void append(Tensor& tensor, const char* bytes, std::uint64_t size) {
  for (std::uint64_t i = 0; i < size; ++i) {
    Real value;
    std::memcpy(&value, bytes + i * sizeof(Real), sizeof(Real));
    tensor.values.push_back(static_cast<double>(value));
  }
}

// The tensors of a model that hmm_models.save_model wrote, if it is of this class.
inline std::map<std::string, Tensor> read_model(const std::string& path, const std::string& class_name) try {
  const std::string bytes = read_bytes(path);
  std::uint64_t header_size = 0;
  if (bytes.size() < sizeof(header_size)) throw std::runtime_error("is no safetensors file");
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  if (header_size > bytes.size() - sizeof(header_size))
    throw std::runtime_error("is no safetensors file, or is cut short");
  const std::string header_text = bytes.substr(sizeof(header_size), header_size);
  const Json header = JsonReader(header_text).read();
  const std::uint64_t begin_of_data = sizeof(header_size) + header_size;
  const std::uint64_t data_size = bytes.size() - begin_of_data;

  const Json& metadata = header.at("__metadata__");
  if (metadata.at("format").text() != "pytorch-hmm" || metadata.at("format_version").text() != "1")
    throw std::runtime_error("is no model of pytorch-hmm in format version 1");
  const Json config = JsonReader(metadata.at("config").text()).read();
  if (config.at("class").text() != class_name)
    throw std::runtime_error("holds a " + config.at("class").text() + "; needed is a " + class_name);

  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : header.object) {
    if (name == "__metadata__") continue;
    const Json& offsets = entry.at("data_offsets");
    if (offsets.array.size() != 2) throw std::runtime_error("has damaged offsets");
    const std::uint64_t begin = offsets.array[0].count(), end = offsets.array[1].count();
    if (begin > end || end > data_size) throw std::runtime_error("has offsets outside of the file");
    Tensor tensor;
    for (const Json& extent : entry.at("shape").array) tensor.shape.push_back(extent.count());
    const std::string& dtype = entry.at("dtype").text();
    const char* data = bytes.data() + begin_of_data + begin;
    if (dtype == "F32") {
      append<float>(tensor, data, checked_size(tensor.shape, 4, end - begin));
    } else if (dtype == "F64") {
      append<double>(tensor, data, checked_size(tensor.shape, 8, end - begin));
    } else {
      throw std::runtime_error("holds " + dtype + "; needed is F32 or F64");
    }
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
} catch (const std::exception& error) {
  throw std::runtime_error(path + " " + error.what());
}

// A float32 array (T, D) that numpy.save wrote.
inline Tensor read_features(const std::string& path) try {
  const std::string bytes = read_bytes(path);
  if (bytes.size() < 12 || bytes.compare(0, 6, "\x93NUMPY") != 0) throw std::runtime_error("is no .npy file");
  // The size of the header has 2 bytes in version 1, and 4 since.
  const std::size_t width = bytes[6] == 1 ? 2 : 4;
  std::uint32_t header_size = 0;
  std::memcpy(&header_size, bytes.data() + 8, width);
  if (header_size > bytes.size() - 8 - width) throw std::runtime_error("is cut short");
  const std::string header = bytes.substr(8 + width, header_size);
  if (header.find("'descr': '<f4'") == std::string::npos) throw std::runtime_error("must hold float32");
  if (header.find("'fortran_order': False") == std::string::npos)
    throw std::runtime_error("must hold rows one after another; save numpy.ascontiguousarray of it");
  unsigned long long frames = 0, features = 0;
  const std::size_t shape = header.find("'shape': (");
  if (shape == std::string::npos ||
      std::sscanf(header.c_str() + shape, "'shape': (%llu, %llu)", &frames, &features) != 2 || features == 0)
    throw std::runtime_error("must have shape (T, D)");
  Tensor tensor;
  tensor.shape = {frames, features};
  const std::size_t begin = 8 + width + header_size;
  append<float>(tensor, bytes.data() + begin, checked_size(tensor.shape, 4, bytes.size() - begin));
  for (const double value : tensor.values)
    if (!(value - value == 0)) throw std::runtime_error("must hold finite numbers");
  return tensor;
} catch (const std::exception& error) {
  throw std::runtime_error(path + " " + error.what());
}
