#include "producer/pipe_input.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <streambuf>
#include <system_error>
#include <utility>
#include <vector>

#include "common/printable.h"
#include "producer/interrupt.h"

namespace whippletree {
namespace {

// How soon a signal is heard if another thread has taken its event.
constexpr int kLookAgainMs = 100;

class PipeBuffer : public std::streambuf {
 public:
  explicit PipeBuffer(int fd) : fd_(fd) {}
  ~PipeBuffer() override { close(fd_); }
  PipeBuffer(const PipeBuffer&) = delete;
  PipeBuffer& operator=(const PipeBuffer&) = delete;

 private:
  int_type underflow() override {
    while (Signals() == 0) {
      if (!WaitReadable(fd_, kLookAgainMs)) continue;
      const ssize_t n = read(fd_, buffer_.data(), buffer_.size());
      if (n > 0) {
        setg(buffer_.data(), buffer_.data(), buffer_.data() + n);
        return traits_type::to_int_type(buffer_[0]);
      }
      if (n == 0) break;
      if (errno == EINTR || errno == EAGAIN) continue;
      throw std::system_error(errno, std::generic_category());  // the stream becomes bad()
    }
    return traits_type::eof();
  }

  const int fd_;
  std::vector<char> buffer_ = std::vector<char>(64 << 10);
};

class PipeStream : public std::istream {
 public:
  explicit PipeStream(int fd) : std::istream(nullptr), buffer_(fd) { rdbuf(&buffer_); }

 private:
  PipeBuffer buffer_;
};

}  // namespace

MapInput PipeInput(const std::string& path) {
  MapInput input = FileInput(path == "-" ? "stdin" : path);
  input.open = [path]() -> absl::StatusOr<std::unique_ptr<std::istream>> {
    const int fd = path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                               : open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot read ", Quoted(path), ": ", std::strerror(errno)));
    }
    return std::make_unique<PipeStream>(fd);
  };
  return input;
}

}  // namespace whippletree
