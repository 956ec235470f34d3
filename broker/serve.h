// Runs the broker: `whippletree-broker serve`.
#pragma once

#include "broker/serve_options.h"

namespace whippletree {

// Serves until SIGTERM or SIGINT; SIGHUP loads the configuration file again. Errors go to stderr.
// Returns the exit code.
// REQUIRES: called once, by the only thread.
int Serve(const ServeOptions& options);

}  // namespace whippletree
