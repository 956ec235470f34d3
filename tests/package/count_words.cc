#include <whippletree/mapreduce.h>

#include <iostream>
#include <sstream>

// Counts the words of a text with the built-in handlers `words` and `total`.
int main(int, char** argv) {
  auto producer = whippletree::Producer::Connect({.broker = argv[1]});
  if (!producer.ok()) return 1;
  const whippletree::MapInput input{
      "t", [] { return std::make_unique<std::istringstream>("a rose is a rose"); }};
  whippletree::MapReduceOptions options;
  options.map_queue = "words";
  options.reduce_queue = "total";
  const absl::Status status = whippletree::MapReduce(
      **producer, {input}, options, [](std::string_view word, std::string_view count) {
        std::cout << word << "=" << count << "\n";
        return absl::OkStatus();
      });
  return status.ok() ? 0 : 1;
}
