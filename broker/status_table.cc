#include "broker/status_table.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "common/utf8.h"

namespace whippletree {

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) widths_.push_back(column.title.size());
}

void Table::Add(std::vector<std::string> cells) {
  for (size_t i = 0; i < cells.size(); ++i) {
    widths_[i] = std::max(widths_[i], CodePoints(cells[i]));
  }
  rows_.push_back(std::move(cells));
}

std::string Table::ToString() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.emplace_back(column.title);
  std::string out;
  AppendRow(titles, &out);
  for (const auto& row : rows_) AppendRow(row, &out);
  return out;
}

void Table::AppendRow(const std::vector<std::string>& cells, std::string* out) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += "  ";
    const std::string padding(widths_[i] - CodePoints(cells[i]), ' ');
    line += columns_[i].align == Align::kLeft ? cells[i] + padding : padding + cells[i];
  }
  line.resize(line.find_last_not_of(' ') + 1);
  absl::StrAppend(out, line, "\n");
}

}  // namespace whippletree
