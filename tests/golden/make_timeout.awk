# Jobs 1 to 10, with one attempt of 200 ms each: even ones sleep for 20 ms, odd ones for 10 s.
BEGIN {
  for (n = 1; n <= 10; n++) print n, (n % 2 == 0) ? "completed 20ms" : "dead DEADLINE_EXCEEDED"
}
