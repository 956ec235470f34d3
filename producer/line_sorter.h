// Sorts lines KEY<TAB>VALUE, more of them than fit into memory: when told to, it moves what it
// holds to a temporary file, as a sorted run, and in the end merges the runs. Not thread-safe.
//
// The order is that of the bytes of the key, then of the value. The file has no name: it goes with
// the process, however that ends. A run is, for each line, its size (4 bytes) and its bytes.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace whippletree {

// The part before the first tab. REQUIRES: there is one.
std::string_view KeyOf(std::string_view line);

class LineSorter {
 public:
  // `folder` gets the temporary file, if there is one.
  explicit LineSorter(std::string folder);
  ~LineSorter();
  LineSorter(LineSorter&& other) noexcept;
  LineSorter& operator=(LineSorter&&) = delete;

  // REQUIRES: `line` has a tab and less than 4 GiB.
  void Add(std::string_view line);
  bool empty() const { return entries_.empty() && runs_.empty(); }
  // About what it holds in memory.
  uint64_t memory_bytes() const { return text_.size() + entries_.size() * sizeof(Entry); }
  uint64_t runs() const { return runs_.size(); }

  // Moves what is in memory to the file. UNAVAILABLE if it cannot be written.
  absl::Status Spill();

  // Calls take(line) for each line in order, until one call fails, and returns that error, or why
  // the file could not be read. The line is valid during the call. REQUIRES: called once, nothing
  // is added afterwards.
  absl::Status Read(const std::function<absl::Status(std::string_view line)>& take);

 private:
  struct Entry {
    uint64_t begin;  // in text_
    uint32_t size;
    uint32_t key_size;
  };
  struct Run {
    uint64_t begin;  // in the file
    uint64_t end;
  };

  std::string_view Line(const Entry& entry) const {
    return std::string_view(text_).substr(entry.begin, entry.size);
  }
  void Sort();
  absl::Status OpenFile();
  absl::Status Append(std::string_view bytes);

  const std::string folder_;
  std::string text_;
  std::vector<Entry> entries_;
  int file_ = -1;
  uint64_t file_bytes_ = 0;
  std::vector<Run> runs_;
};

}  // namespace whippletree
