#include <whippletree/worker.h>

#include <cstdlib>

absl::StatusOr<std::string> Square(whippletree::JobContext&, std::string_view payload) {
  const long n = std::atol(std::string(payload).c_str());
  if (n == 0) return absl::InvalidArgumentError("expected a number other than 0");
  return std::to_string(n * n);
}

int main(int argc, char** argv) {
  whippletree::Worker worker({.broker = argc > 1 ? argv[1] : "127.0.0.1:7711", .slots = 2});
  worker.Handle("numbers", Square);
  return worker.Run().ok() ? 0 : 1;
}
