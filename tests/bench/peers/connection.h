// A blocking TCP connection to a server of this machine, for protocols of lines and counted bytes.
// Any error ends the process.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace whippletree::bench {

class Connection {
 public:
  explicit Connection(uint64_t port);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Gathers what Flush() writes.
  void Append(std::string_view bytes) { out_ += bytes; }
  template <typename... Parts>
  void AppendAll(const Parts&... parts) {
    (Append(parts), ...);
  }
  size_t gathered() const { return out_.size(); }
  void Flush();

  // Whether something can be read within so long.
  bool Readable(int timeout_ms);
  // Something has been read and not been taken.
  bool has_input() const { return begin_ < in_.size(); }
  // A line without its end; valid until the next call.
  std::string_view Line();
  // `n` bytes, then the end of a line, which is dropped; valid until the next call.
  std::string_view Body(size_t n);

 private:
  // Reads more, after what is there.
  void Fill();

  int fd_;
  std::string out_;
  std::string in_;
  size_t begin_ = 0;  // in in_: what was not taken
};

// The decimal number that `text` begins with.
uint64_t DecimalOf(std::string_view text);
// The word at `index`, from 0; words are separated by single spaces. Empty if there is none.
std::string_view WordOf(std::string_view line, int index);

}  // namespace whippletree::bench
