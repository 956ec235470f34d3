#include <whippletree/worker.h>

// The result is `yes` if the handler has less than a minute left; 2: no.
int main(int, char** argv) {
  whippletree::Worker worker({.broker = argv[1]});
  worker.Handle(
      "hurry",
      [](whippletree::JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
        const bool by_clock =
            context.deadline() < whippletree::ReadMonoClock() + std::chrono::minutes(1);
        return by_clock && context.time_left() < std::chrono::minutes(1) ? "yes" : "no";
      });
  return worker.Run().ok() ? 0 : 1;
}
