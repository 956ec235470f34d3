// Lays out a table for people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace whippletree {

enum class Align { kLeft, kRight };

struct Column {
  std::string_view title;
  Align align = Align::kRight;
};

// Columns as wide as their widest cell, two spaces apart, no space at the end of a line.
// Cells are valid UTF-8.
class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // REQUIRES: one cell for each column.
  void Add(std::vector<std::string> cells);

  // The titles and the rows, each a line.
  std::string ToString() const;

 private:
  void AppendRow(const std::vector<std::string>& cells, std::string* out) const;

  std::vector<Column> columns_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace whippletree
