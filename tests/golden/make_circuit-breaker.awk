# Operations one after the other, 1 fails; a breaker that opens after 3 failures in a row, becomes
# half-open before the next operation, and then goes by that one alone.
function becomes(next_state, where) {
  print state " -> " next_state " " where
  state = next_state
}
BEGIN {
  count = split("1 1 1 1 0 1 0 0 1 1 0", fails)
  state = "closed"
  for (job = 1; job <= count; job++) {
    if (state == "open") becomes("half-open", "before job " job)
    print job, fails[job] ? "dead" : "completed"
    in_a_row = fails[job] ? in_a_row + 1 : 0
    if (state == "half-open") {
      becomes(fails[job] ? "open" : "closed", "after job " job)
      in_a_row = 0
    } else if (in_a_row == 3) {
      becomes("open", "after job " job)
    }
  }
}
