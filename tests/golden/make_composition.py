"""The sum of the squares of 1 to 1000, added up batch by batch of 50."""

squares = [n * n for n in range(1, 1001)]
sums = [sum(squares[begin:begin + 50]) for begin in range(0, len(squares), 50)]
print(sum(sums))
