#include "broker/core/secrets.h"

#include <sodium/crypto_shorthash.h>

namespace whippletree::core {
namespace {

// In a fixed order of bytes: a store may move to another machine.
void Put(uint64_t number, uint8_t* bytes) {
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(number >> (8 * i));
}

}  // namespace

uint64_t Secrets::Hash(Kind kind, uint64_t number) const {
  static_assert(crypto_shorthash_KEYBYTES == sizeof(SecretKey));
  static_assert(crypto_shorthash_BYTES == 8);
  uint8_t in[16];
  Put(static_cast<uint64_t>(kind), in);
  Put(number, in + 8);
  uint8_t out[8];
  crypto_shorthash(out, in, sizeof in, key_.data());
  uint64_t hash = 0;
  for (int i = 7; i >= 0; --i) hash = hash << 8 | out[i];
  return hash;
}

}  // namespace whippletree::core
