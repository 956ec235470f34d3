# 1 to 25: the value and its square.
BEGIN { for (n = 1; n <= 25; n++) print n, n * n }
