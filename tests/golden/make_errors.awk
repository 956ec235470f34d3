# Jobs 1 to 50; each seventh fails.
BEGIN {
  for (n = 1; n <= 50; n++) {
    if (n % 7 == 0) print n, "dead INVALID_ARGUMENT"
    else print n, "completed processed-" n
  }
}
