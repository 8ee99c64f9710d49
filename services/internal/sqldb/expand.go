package sqldb

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// breaking is what a migration may not do while programs of the release before are at work on the schema. A constraint is among it: they may
// write what it forbids.
var breaking = regexp.MustCompile(`(?i)\bDROP\s+(TABLE|COLUMN|VIEW|DEFAULT|TYPE|FUNCTION)\b|\bRENAME\b|\bSET\s+NOT\s+NULL\b|` +
	`\bALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b|\bADD\s+(CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b`)

var (
	comments       = regexp.MustCompile(`(?m)--.*$`)
	noTransaction  = regexp.MustCompile(`(?m)^--\s*\+goose\s+NO\s+TRANSACTION`)
	downAnnotation = regexp.MustCompile(`(?m)^--\s*\+goose\s+Down`)
	waitsForLocks  = regexp.MustCompile(`(?i)^\s*SET\s+lock_timeout\s*=\s*0\s*$`)
	raisedOldest   = regexp.MustCompile(`(?i)^\s*update\s+` + oldestTable + `\s+set\s+oldest\s*=\s*(\d+)\s*$`)
	createdTable   = regexp.MustCompile(`(?i)^\s*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)`)
	droppedIndex   = regexp.MustCompile(`(?i)^\s*DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS\s+(\w+)`)
	createdIndex   = regexp.MustCompile(
		`(?i)^\s*CREATE\s+(UNIQUE\s+)?INDEX\s+(CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?(\w+)\s+ON\s+(\w+)`)
	alteredTable = regexp.MustCompile(`(?i)^\s*ALTER\s+TABLE\b`)
	added        = regexp.MustCompile(`(?i)\bADD\b`)
	notNull      = regexp.MustCompile(`(?i)\bNOT\s+NULL\b`)
	hasDefault   = regexp.MustCompile(`(?i)\bDEFAULT\b`)
)

// checkExpands reports which migrations after the first would break programs of the release before, which go on working while the
// migration is done and until they are replaced:
//
//   - one that takes away, renames or narrows must raise schema_program.oldest, to at most its own number;
//   - on PostgreSQL an index on a table that was there before must be made CONCURRENTLY, or nobody writes to the table meanwhile. Such a
//     migration is without transaction, so it may be broken off in the middle: it begins with SET lock_timeout = 0, for it must wait for
//     whoever reads, and drops what a broken off one has left before it makes it.
func checkExpands(migrations fs.FS, dialect Dialect, list []migration) error {
	var errs []error
	for _, m := range list[1:] {
		file := path.Join(dialect.String(), m.name)
		text, err := fs.ReadFile(migrations, file)
		if err != nil {
			return fmt.Errorf("read migrations: %w", err)
		}
		if err := checkExpand(string(text), dialect, m.version); err != nil {
			errs = append(errs, fmt.Errorf("migration %s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

func checkExpand(text string, dialect Dialect, version int64) error {
	if down := downAnnotation.FindStringIndex(text); down != nil {
		text = text[:down[0]]
	}
	statements := strings.Split(comments.ReplaceAllString(text, ""), ";")
	if dialect == Postgres {
		if noTransaction.MatchString(text) && !waitsForLocks.MatchString(statements[0]) {
			return errors.New("without a transaction it begins with SET lock_timeout = 0")
		}
		if err := checkIndexes(statements); err != nil {
			return err
		}
	}
	var oldest int64
	for _, statement := range statements {
		if found := raisedOldest.FindStringSubmatch(statement); found != nil {
			var err error
			if oldest, err = strconv.ParseInt(found[1], 10, 64); err != nil || oldest > version {
				return fmt.Errorf("this program itself does not know %s migrations", found[1])
			}
		}
	}
	if at := slices.IndexFunc(statements, breaks(statements)); at >= 0 && oldest == 0 {
		return fmt.Errorf("older programs may not be able to go on after %q: leave it to the next release, which raises %s.oldest",
			strings.Join(strings.Fields(statements[at]), " "), oldestTable)
	}
	return nil
}

// checkIndexes looks at those of tables that were there before.
func checkIndexes(statements []string) error {
	dropped := map[string]bool{}
	for _, statement := range statements {
		if found := droppedIndex.FindStringSubmatch(statement); found != nil {
			dropped[found[1]] = true
		}
		found := createdIndex.FindStringSubmatch(statement)
		switch {
		case found == nil, slices.ContainsFunc(statements, creates(found[4])):
		case found[2] == "":
			return fmt.Errorf("while index %s is made nobody can write to %s: make it CONCURRENTLY", found[3], found[4])
		case !dropped[found[3]]:
			return fmt.Errorf("index %s may be there, broken off: DROP INDEX CONCURRENTLY IF EXISTS before", found[3])
		}
	}
	return nil
}

func creates(table string) func(statement string) bool {
	return func(statement string) bool {
		found := createdTable.FindStringSubmatch(statement)
		return found != nil && found[1] == table
	}
}

// breaks says of a statement whether it takes away, renames or narrows something that was there before.
func breaks(statements []string) func(statement string) bool {
	return func(statement string) bool {
		if index := createdIndex.FindStringSubmatch(statement); index != nil {
			return index[1] != "" && !slices.ContainsFunc(statements, creates(index[4]))
		}
		if breaking.MatchString(statement) {
			return true
		}
		// A column that old programs do not fill.
		return alteredTable.MatchString(statement) && slices.ContainsFunc(added.Split(statement, -1)[1:], func(column string) bool {
			return notNull.MatchString(column) && !hasDefault.MatchString(column)
		})
	}
}
