package store

import (
	"strconv"
	"strings"
)

// bulkSizes are how many rows one statement takes. There are few, so that the statements stay prepared.
var bulkSizes = [...]int{64, 16, 4, 1}

// bulk is a statement over rows of values, for each of the sizes.
type bulk [len(bulkSizes)]string

// newBulk puts a list of rows between head and tail. A column is `?` for a value of the row, `$1` for the first parameter, which
// all rows share, or an expression of these.
func newBulk(head string, columns []string, tail string) *bulk {
	var b bulk
	for n, size := range bulkSizes {
		var query strings.Builder
		query.WriteString(head)
		parameter := 1
		for row := range size {
			if row > 0 {
				query.WriteString(", ")
			}
			query.WriteByte('(')
			for c, column := range columns {
				if c > 0 {
					query.WriteString(", ")
				}
				if strings.Contains(column, "?") {
					parameter++
					column = strings.Replace(column, "?", "$"+strconv.Itoa(parameter), 1)
				}
				query.WriteString(column)
			}
			query.WriteByte(')')
		}
		query.WriteString(tail)
		b[n] = query.String()
	}
	return &b
}

// split runs the statements that together take n rows, in order: each takes the rows from one index up to another.
func (b *bulk) split(n int, run func(query string, from, to int) error) error {
	from := 0
	for i, size := range bulkSizes {
		for n-from >= size {
			if err := run(b[i], from, from+size); err != nil {
				return err
			}
			from += size
		}
	}
	return nil
}
