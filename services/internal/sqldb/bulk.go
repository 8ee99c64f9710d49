package sqldb

import (
	"regexp"
	"strconv"
	"strings"
)

// bulkSizes are how many rows one statement takes. There are few, so that the statements stay prepared.
// Each statement costs about as much as five rows do, and with powers of two any number of rows up to 127 takes at most seven.
var bulkSizes = [...]int{64, 32, 16, 8, 4, 2, 1}

// numbered is a parameter that is written with its number.
var numbered = regexp.MustCompile(`\$([0-9]{1,3})`)

// Bulk is a statement over rows of values, prepared for a few numbers of rows.
type Bulk [len(bulkSizes)]string

// NewBulk puts a list of rows between head and tail. A column is `?` for a value of the row, `$1` and so on for a parameter that all
// rows share, or an expression of these. The parameters that are shared come first, then the values row by row.
func NewBulk(head string, columns []string, tail string) *Bulk {
	shared := 0
	for _, found := range numbered.FindAllStringSubmatch(head+strings.Join(columns, " ")+tail, -1) {
		n, _ := strconv.Atoi(found[1]) // digits, by the pattern
		shared = max(shared, n)
	}
	next := 0
	return newBulk(head, columns, tail, func(first bool) string {
		if first {
			next = shared
		}
		next++
		return "$" + strconv.Itoa(next)
	})
}

// NewSQLiteBulk is NewBulk in SQLite's own form, without parameters that rows share. Its parameters have no names: SQLite's driver
// searches the list of names for each one that has, which makes long lists slow.
//
// When a row breaks a rule (a key that is taken), the rows before it stay: SQLite need not keep a copy of each page that the statement
// changes. So after an error of the statement its transaction must not go on; a function of Write that returns the error sees to that.
func NewSQLiteBulk(head string, columns []string, tail string) *Bulk {
	return newBulk(plainChange.ReplaceAllString(head, "$1$3 OR FAIL$2$4"), columns, tail, func(bool) string { return "?" })
}

// plainChange is the beginning of a statement that says nothing yet of what to do when it fails. See
// https://sqlite.org/lang_conflict.html.
var plainChange = regexp.MustCompile(`(?i)^(\s*insert)( into )|^(\s*update)( )`)

// newBulk writes the statements; parameter gives the next parameter, and is told when a statement begins.
func newBulk(head string, columns []string, tail string, parameter func(first bool) string) *Bulk {
	var b Bulk
	for n, size := range bulkSizes {
		var query strings.Builder
		query.WriteString(head)
		first := true
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
					column = strings.Replace(column, "?", parameter(first), 1)
					first = false
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

// Split runs the statements that together take n rows, in order: each takes the rows from one index up to another.
func (b *Bulk) Split(n int, run func(query string, from, to int) error) error {
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
