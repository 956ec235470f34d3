// Inputs that found what those before them had left, in one file: what is to be run when the last
// one alone does not do it again. Such a file is an input itself.
//
//   file = magic { size input } 0   size: four bytes, as the machine has them
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>

namespace whippletree::fuzz {

class History {
 public:
  // In the file that FUZZ_HISTORY names, which is there whatever ends the process. Without that, or
  // if it cannot be had, nothing is written.
  History();
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  // What comes now finds nothing of what came before.
  void Clear();
  // To be called before the input is tried. It goes when the next one comes, unless Keep() is
  // called.
  void Add(std::string_view input);
  void Keep() { end_ += pending_, pending_ = 0; }

  // Calls each(input) for those of a history, or for `input` itself if it is none.
  static void Split(std::string_view input, const std::function<void(std::string_view)>& each);

 private:
  static constexpr std::string_view kMagic = "HISTORY\n";
  static constexpr size_t kBytes = 4 << 20;

  char* file_ = nullptr;  // mapped
  size_t end_ = 0;
  size_t pending_ = 0;
};

}  // namespace whippletree::fuzz
