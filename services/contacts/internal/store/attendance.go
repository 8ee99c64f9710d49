package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Attendance is one session of a person with an agent.
type Attendance struct {
	ID            int64
	InteractionID string
	ContactID     string
	Identifier    string
	AssistantID   int64
	Source        string
	ExternalID    *string
	Interactions  int64
	CreateTime    time.Time
	FinishTime    time.Time // zero while it is open
}

// Filter says which attendances of an instance are meant; everything given must hold. Attendances never change in what is filtered
// here, so what a filter finds among numbers that are given already stays the same.
type Filter struct {
	Instance string
	// Low and High bound the numbers, both inclusive.
	Low, High   int64
	ID          *int64
	AssistantID *int64
	ExternalID  *string
	Source      *string
	// From is inclusive, Until is not, in Unix microseconds; nil is no bound.
	From, Until *int64
	// Contacts are the persons; nil is everybody. It is looked at before People.
	Contacts []string
	// People says who is meant when they are too many for Contacts.
	People *People
	// Numbers are those that Select gave for this filter, or some of them. Page then reads these and looks at nothing else.
	Numbers []int64
}

// Contiguous reports whether the attendances that a filter finds lie one behind the other in an index, so that a page reads no others.
// What a day's bounds find mostly does too, but only who has counted can know.
func (f *Filter) Contiguous() bool {
	if f.ID != nil || f.ExternalID != nil {
		return true // one at most
	}
	if f.From != nil || f.Until != nil || len(f.Contacts) > 1 || f.Contacts == nil && f.People != nil {
		return false
	}
	return f.equalities() <= 1
}

// OnlyDays reports whether nothing but days is asked for.
func (f *Filter) OnlyDays() bool {
	return f.ID == nil && f.ExternalID == nil && f.People == nil && f.equalities() == 0 && (f.From != nil || f.Until != nil)
}

// equalities is how many of the columns that begin an index must be equal to something.
func (f *Filter) equalities() (n int) {
	for _, asked := range []bool{f.Contacts != nil, f.AssistantID != nil, f.Source != nil} {
		if asked {
			n++
		}
	}
	return n
}

// Extent is what a filter finds: how many, and their least and greatest number.
type Extent struct{ Count, Low, High int64 }

// fewNumbers is how many numbers are looked at one by one rather than by the days that are asked for.
const fewNumbers = 1000

// Measure counts what a filter finds.
func (s *Store) Measure(ctx context.Context, f Filter) (Extent, error) {
	query, args := s.measureQuery(f)
	var e Extent
	if err := s.db.Reader().QueryRowContext(ctx, query, args...).Scan(&e.Count, &e.Low, &e.High); err != nil {
		return Extent{}, fmt.Errorf("count attendances: %w", err)
	}
	return e, nil
}

func (s *Store) measureQuery(f Filter) (query string, args []any) {
	where := s.where(f)
	return `SELECT count(*), COALESCE(min(id), 0), COALESCE(max(id), 0) FROM attendance` + s.dialect.using(f.measureIndex()) + where.text,
		where.args
}

// Select is the numbers of all that a filter finds, the least first. They come as one text: as rows they would take ten times as long.
func (s *Store) Select(ctx context.Context, f Filter) ([]int64, error) {
	query, args := s.selectQuery(f)
	var list sql.NullString
	if err := s.db.Reader().QueryRowContext(ctx, query, args...).Scan(&list); err != nil {
		return nil, fmt.Errorf("select attendances: %w", err)
	}
	return parseNumbers(list.String)
}

func (s *Store) selectQuery(f Filter) (query string, args []any) {
	where := s.where(f)
	return `SELECT string_agg(CAST(id AS TEXT), ',') FROM attendance` + s.dialect.using(f.measureIndex()) + where.text, where.args
}

// consecutive reports whether numbers, the least first, have none missing between them.
func consecutive(numbers []int64) bool {
	last := len(numbers) - 1
	return last >= 0 && numbers[last]-numbers[0] == int64(last)
}

// parseNumbers reads numbers with commas between them, and sorts them.
func parseNumbers(list string) ([]int64, error) {
	if list == "" {
		return nil, nil
	}
	numbers := make([]int64, 0, 1+strings.Count(list, ","))
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read list of numbers: %w", err)
		}
		numbers = append(numbers, n)
	}
	if !slices.IsSorted(numbers) {
		slices.Sort(numbers)
	}
	return numbers, nil
}

// Page is what a filter finds, greatest number first, limit at most.
func (s *Store) Page(ctx context.Context, f Filter, limit int) ([]Attendance, error) {
	query, args := s.pageQuery(f, limit)
	rows, err := s.db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read attendances: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	page := make([]Attendance, 0, limit)
	for rows.Next() {
		var a Attendance
		var created int64
		var finished sql.NullInt64
		err := rows.Scan(&a.ID, &a.InteractionID, &a.ContactID, &a.Identifier, &a.AssistantID, &a.Source, &a.ExternalID,
			&a.Interactions, &created, &finished)
		if err != nil {
			return nil, fmt.Errorf("read attendances: %w", err)
		}
		a.CreateTime, a.FinishTime = sqldb.Time(created), sqldb.NullTime(finished)
		page = append(page, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read attendances: %w", err)
	}
	return page, nil
}

func (s *Store) pageQuery(f Filter, limit int) (query string, args []any) {
	if consecutive(f.Numbers) { // as one piece they are read faster
		f = Filter{Instance: f.Instance, Low: f.Numbers[0], High: f.Numbers[len(f.Numbers)-1]}
	}
	index := f.index()
	where, from := &condition{}, `attendance`+s.dialect.using(index)
	order := ` ORDER BY id DESC`
	switch column := columnOf[index]; {
	case f.Numbers != nil:
		where.parameter(f.Instance)
		from, where.text = s.dialect.picked(`attendance`, `attendance`, byNumber, where.parameter(jsonList(f.Numbers)))
		where.text = ` WHERE ` + where.text
	case column != "" && f.Contiguous():
		where.text = ` WHERE attendance.instance = ` + where.parameter(f.Instance) +
			s.dialect.run(column, `id`, where.parameter(f.value(index)), where.parameter(f.Low), where.parameter(f.High))
		order = ` ORDER BY ` + s.dialect.runOrder(column, `id`, ` DESC`)
	case f.OnlyDays():
		where = s.whereDays(f, s.dialect.passing(`create_time`))
	default:
		where = s.where(f)
	}
	join, joined := s.dialect.one(`progress`, `p`, `p.instance = attendance.instance AND p.attendance_id = attendance.id`)
	return `SELECT id, interaction_id, contact_id, identifier, assistant_id, source, external_id, interactions, create_time, finish_time
		FROM ` + from + join + where.text + joined + order + ` LIMIT ` + where.parameter(limit), where.args
}

// The indexes of attendance, by what they find. The first is the primary key, which is in the order of the answer.
const (
	byNumber    = "sqlite_autoindex_attendance_1"
	byContact   = "attendance_by_contact"
	byExternal  = "attendance_by_external"
	byAssistant = "attendance_by_assistant"
	bySource    = "attendance_by_source"
	byTime      = "attendance_by_time"
)

// index is the one that finds least, and in the order of the answer.
func (f *Filter) index() string {
	switch {
	case f.ID != nil:
		return byNumber
	case f.ExternalID != nil:
		return byExternal
	case f.Contacts != nil, f.People != nil:
		return byContact
	case f.AssistantID != nil:
		return byAssistant
	case f.Source != nil:
		return bySource
	default:
		return byNumber
	}
}

// measureIndex is the one that finds least, in any order.
func (f *Filter) measureIndex() string {
	if f.OnlyDays() && f.High-f.Low >= fewNumbers {
		return byTime
	}
	return f.index()
}

// columnOf is the column by which an index has its attendances in the order of the answer.
var columnOf = map[string]string{byContact: "contact_id", byAssistant: "assistant_id", bySource: "source"}

// value is what the column of an index must be, when one value of it is asked for.
func (f *Filter) value(index string) any {
	switch index {
	case byContact:
		return f.Contacts[0]
	case byAssistant:
		return *f.AssistantID
	default:
		return *f.Source
	}
}

// condition is a WHERE clause and its parameters. There are few different texts, so that the statements stay prepared.
type condition struct {
	text string
	args []any
}

func (c *condition) parameter(value any) string {
	c.args = append(c.args, value)
	return "$" + strconv.Itoa(len(c.args))
}

func (s *Store) where(f Filter) *condition {
	c := &condition{}
	c.text = ` WHERE attendance.instance = ` + c.parameter(f.Instance)
	if f.ID != nil {
		c.text += ` AND id = ` + c.parameter(*f.ID)
	}
	c.text += ` AND id >= ` + c.parameter(f.Low) + ` AND id <= ` + c.parameter(f.High)
	switch {
	case len(f.Contacts) == 1:
		c.text += ` AND contact_id = ` + c.parameter(f.Contacts[0])
	case f.Contacts != nil:
		c.text += ` AND contact_id` + s.dialect.texts(c.parameter(jsonList(f.Contacts)))
	case f.People != nil:
		c.text += ` AND contact_id IN (` + s.people(c, *f.People) + `)`
	}
	if f.ExternalID != nil {
		c.text += ` AND external_id = ` + c.parameter(*f.ExternalID)
	}
	if f.AssistantID != nil {
		c.text += ` AND assistant_id = ` + c.parameter(*f.AssistantID)
	}
	if f.Source != nil {
		c.text += ` AND source = ` + c.parameter(*f.Source)
	}
	c.days(`create_time`, f.From, f.Until)
	return c
}

// whereDays is the condition for nothing but days, with the time as it is to be written.
func (s *Store) whereDays(f Filter, column string) *condition {
	c := &condition{}
	c.text = ` WHERE attendance.instance = ` + c.parameter(f.Instance) + ` AND id >= ` + c.parameter(f.Low) + ` AND id <= ` + c.parameter(f.High)
	c.days(column, f.From, f.Until)
	return c
}

// days bounds a time.
func (c *condition) days(column string, from, until *int64) {
	if from != nil {
		c.text += ` AND ` + column + ` >= ` + c.parameter(*from)
	}
	if until != nil {
		c.text += ` AND ` + column + ` < ` + c.parameter(*until)
	}
}

// jsonList writes strings or numbers as the JSON array that the dialects take apart.
func jsonList[T string | int64](list []T) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return string(text)
}
