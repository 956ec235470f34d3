# Jobs 1 to 50 with data 2 * id: the id and the square of the data.
BEGIN { for (id = 1; id <= 50; id++) print id, (2 * id) * (2 * id) }
