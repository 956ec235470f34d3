#include <whippletree/producer.h>

#include <iostream>

int main(int argc, char** argv) {
  auto producer = whippletree::Producer::Connect({.broker = argc > 1 ? argv[1] : "127.0.0.1:7711"});
  if (!producer.ok()) return 1;
  auto outcome = (*producer)->Submit("numbers", "12");
  if (!outcome.ok()) return 1;
  std::cout << outcome->get().result << "\n";
  return 0;
}
