// Whether a sanitizer watches. It makes everything many times slower, so tests of very many
// repetitions have fewer then: what a sanitizer can find is found in the first ones.
#pragma once

namespace whippletree {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace whippletree
