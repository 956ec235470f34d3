#include "common/address.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

TEST(AddressTest, HostsAndPorts) {
  const struct {
    const char* text;
    const char* host;
    uint16_t port;
  } cases[] = {
      {"127.0.0.1:1234", "127.0.0.1", 1234}, {"broker", "broker", kDoorPortDefault},
      {"broker:65535", "broker", 65535},     {"[::1]", "::1", kDoorPortDefault},
      {"[fe80::1]:1", "fe80::1", 1},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<HostPort> parsed = ParseHostPort(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text;
    EXPECT_EQ(parsed->host, c.host);
    EXPECT_EQ(parsed->port, c.port);
    const absl::StatusOr<HostPort> again = ParseHostPort(parsed->ToString());
    ASSERT_TRUE(again.ok()) << parsed->ToString();
    EXPECT_EQ(again->host, c.host);
    EXPECT_EQ(again->port, c.port);
  }
}

TEST(AddressTest, WhatIsNoAddressIsNamed) {
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"", "has no host"},
      {":1234", "has no host"},
      {"tcp://broker:1", "has a scheme"},
      {"::1", "has several colons: write an IPv6 address as [::1]:7711"},
      {"[::1", "lacks a ']'"},
      {"[]:1", "has no host"},
      {"broker:", "has no port from 1 to 65535"},
      {"broker:0", "has no port from 1 to 65535"},
      {"broker:65536", "has no port from 1 to 65535"},
      {"broker:99999999999", "has no port from 1 to 65535"},
      {"broker:+1", "has no port from 1 to 65535"},
      {"broker: 1", "has no port from 1 to 65535"},
      {"[::1]x", "has no port from 1 to 65535"},
      {"bro ker:1", "is not an address"},
      {"bro/ker", "is not an address"},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<HostPort> parsed = ParseHostPort(c.text);
    ASSERT_FALSE(parsed.ok()) << c.text;
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
    EXPECT_NE(parsed.status().message().find(c.error), absl::string_view::npos)
        << parsed.status().message();
  }
}

}  // namespace
}  // namespace whippletree
