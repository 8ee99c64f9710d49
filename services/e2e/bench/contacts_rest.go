package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/e2e/internal/population"
)

// queries asks for contacts over REST.
type queries struct {
	url, key string
	// operations is where the metrics are.
	operations string
	client     *http.Client
}

func newQueries(prosa *harness.Process, key string) *queries {
	return &queries{
		url: prosa.HTTP + "/contacts/" + contactsInstance, key: key, operations: prosa.Metrics, client: &http.Client{Timeout: time.Minute},
	}
}

func (q *queries) close() { q.client.CloseIdleConnections() }

// ask sends a query and reads the whole answer.
func (q *queries) ask(ctx context.Context, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("x-api-key", q.key)
	response, err := q.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("query %s: status %d: %s", body, response.StatusCode, answer)
	}
	return answer, nil
}

// query is a body of POST /contacts.
type query struct {
	Filters    map[string]any    `json:"filters,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Flags      map[string]bool   `json:"flags,omitempty"`
	Pagination string            `json:"pagination,omitempty"`
}

func (r query) body() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and texts always have a JSON form
	}
	return text
}

// page gives a function that asks for one page.
func (q *queries) page(r query) func(ctx context.Context) error {
	body := r.body()
	return func(ctx context.Context) error {
		_, err := q.ask(ctx, body)
		return err
	}
}

// answer is what the figures look at of an answer.
type answer struct {
	Contacts    []struct{ ID int64 }
	ResultCount string
	Pagination  *string
}

func (q *queries) answer(ctx context.Context, r query) (answer, error) {
	text, err := q.ask(ctx, r.body())
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("decode answer: %w", err)
	}
	return a, nil
}

// deep walks to a page, or the last full one, and gives its token. The size of
// the pages may change on the way.
func (q *queries) deep(ctx context.Context, filters map[string]any, page int) (token string, reached int, err error) {
	limited := func(limit int) query {
		r := query{Filters: map[string]any{"limit": limit}, Pagination: token}
		for name, value := range filters {
			r.Filters[name] = value
		}
		return r
	}
	first, err := q.answer(ctx, limited(1))
	if err != nil {
		return "", 0, err
	}
	count, err := strconv.Atoi(first.ResultCount)
	if err != nil {
		return "", 0, fmt.Errorf("read count: %w", err)
	}
	page = min(page, count/100)
	for before := 100 * (page - 1); before > 0; {
		limit := min(500, before)
		a, err := q.answer(ctx, limited(limit))
		if err != nil {
			return "", 0, err
		}
		if a.Pagination == nil {
			return "", 0, fmt.Errorf("the walk ended %d before page %d", before, page)
		}
		token = *a.Pagination
		before -= limit
	}
	return token, page, nil
}

// filtered is a query that is measured, and how it is found.
type filtered struct {
	name    string
	filters map[string]any
	where   string // for the bare SQL, behind the instance
	column  string // the column that must be equal, which begins the index; empty for the primary key
}

var filteredPages = []filtered{
	{"everything", nil, ``, ``},
	{"source", map[string]any{"source": "api"}, `source = 'api'`, `source`},
	{"assistant", map[string]any{"assistantId": 3}, `assistant_id = 3`, `assistant_id`},
	{"days", map[string]any{"startDate": "2025-01-01", "endDate": "2025-03-31"}, days, ``},
	{"assistant and days", map[string]any{"assistantId": 2, "startDate": "2025-01-01", "endDate": "2025-03-31"},
		`assistant_id = 2 AND ` + days, `assistant_id`},
	{"assistant, source and days",
		map[string]any{"assistantId": 2, "source": "agent", "startDate": "2025-01-01", "endDate": "2025-03-31"},
		`assistant_id = 2 AND source = 'agent' AND ` + days, `assistant_id`},
	{"days of old and new", map[string]any{"startDate": "2019-01-01", "endDate": "2023-12-31"}, longAgo, ``},
}

// Quarters begin at midnight in São Paulo.
var (
	days    = between("2025-01-01", "2025-04-01")
	longAgo = between("2019-01-01", "2024-01-01")
)

func between(from, until string) string {
	micros := func(day string) string {
		at, err := time.Parse("2006-01-02 15", day+" 03")
		if err != nil {
			panic(err) // the days are above
		}
		return strconv.FormatInt(at.UnixMicro(), 10)
	}
	return `(create_time + 0) >= ` + micros(from) + ` AND (create_time + 0) < ` + micros(until)
}

// queries measures all kinds of queries.
func (f contactsFigure) queries(ctx context.Context, rest *queries, folder string, p plan) ([]string, error) {
	bare, err := openBare(ctx, folder, p.postgres)
	if err != nil {
		return nil, err
	}
	defer bare.close()
	lines, err := counts(ctx, rest)
	if err != nil {
		return nil, err
	}
	lines = append(lines, "", fmt.Sprintf(comparisonHeader, "page of 100 over REST / bare SQL", "ratio", "range", "must", "reach", "REST", "SQL", "A/A"))
	for _, page := range filteredPages {
		sql, err := bare.page(ctx, page)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", page.name, err)
		}
		c := &comparison{name: page.name, must: 3, reach: 2, a: rest.page(query{Filters: page.filters}), b: sql}
		if err := c.measure(ctx, p.pairs); err != nil {
			return nil, fmt.Errorf("%s: %w", page.name, err)
		}
		lines = append(lines, c.String())
	}
	lines = append(lines, "", fmt.Sprintf(comparisonHeader, "page deep in a walk / page 1", "ratio", "range", "must", "reach", "deep", "page 1", "A/A"))
	for _, page := range filteredPages {
		token, reached, err := rest.deep(ctx, page.filters, deepPage)
		if err != nil {
			return nil, fmt.Errorf("walk over %s: %w", page.name, err)
		}
		c := &comparison{
			name: fmt.Sprintf("%s, page %d", page.name, reached), must: 1.5, reach: 1.2,
			a: rest.page(query{Filters: page.filters, Pagination: token}), b: rest.page(query{Filters: page.filters}),
		}
		if err := c.measure(ctx, p.pairs); err != nil {
			return nil, fmt.Errorf("walk over %s: %w", page.name, err)
		}
		lines = append(lines, c.String())
	}
	more, err := lookups(ctx, rest)
	return append(lines, more...), err
}

// counts measures what it costs to count all matches, which the first query of
// a kind has done since Prosa started, and the next has not.
func counts(ctx context.Context, rest *queries) ([]string, error) {
	lines := []string{"", "first page of a kind of query since the start, which counts and lists all matches, and the next"}
	for _, r := range []struct {
		name    string
		filters map[string]any
	}{
		{"all days", map[string]any{"endDate": "2026-12-31"}},
		{"days of old and new", map[string]any{"startDate": "2019-01-01", "endDate": "2023-12-31"}},
		{"source", map[string]any{"source": "api"}},
		{"assistant", map[string]any{"assistantId": 1}},
		{"assistant and source", map[string]any{"assistantId": 1, "source": "api_channel"}},
		{"assistant and rare source", map[string]any{"assistantId": 1, "source": "quiosque"}},
	} {
		var took [2]time.Duration
		var count string
		for n := range took {
			start := time.Now()
			a, err := rest.answer(ctx, query{Filters: r.filters})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			took[n], count = time.Since(start), a.ResultCount
		}
		lines = append(lines, fmt.Sprintf("%-34s %9s matches  %7.1f ms  %6.1f ms", r.name, count,
			float64(took[0].Microseconds())/1000, float64(took[1].Microseconds())/1000))
	}
	return lines, nil
}

// lookedUp is how many persons are looked up by each thing that is known.
const lookedUp = 500

// lookups measures how long it takes to find somebody, each time somebody else.
func lookups(ctx context.Context, rest *queries) ([]string, error) {
	lines := []string{"", "look-up of a person, time at the caller and processor time of Prosa; must be under 5 ms of server time"}
	for _, by := range []struct {
		name string
		of   func(person int) query
	}{
		{"cpf", func(person int) query { return query{Attributes: map[string]string{"cpf": population.CPF(person)}} }},
		{"phone", func(person int) query { return query{Attributes: map[string]string{"phone": population.Phone(person)}} }},
		{"email", func(person int) query { return query{Attributes: map[string]string{"email": population.Email(person)}} }},
		{"identifier", func(person int) query {
			return query{Filters: map[string]any{"identifier": population.Identifier(person)}}
		}},
		{"identifier, history and events", func(person int) query {
			return query{
				Filters: map[string]any{"identifier": population.Identifier(person)}, Flags: map[string]bool{"history": true, "events": true},
			}
		}},
	} {
		var took []float64
		before, err := readCost(ctx, rest.operations)
		if err != nil {
			return nil, err
		}
		for n := range lookedUp {
			body := by.of(10 + n*(population.Known-11)/lookedUp).body()
			start := time.Now()
			if _, err := rest.ask(ctx, body); err != nil {
				return nil, fmt.Errorf("by %s: %w", by.name, err)
			}
			took = append(took, float64(time.Since(start).Microseconds())/1000)
		}
		after, err := readCost(ctx, rest.operations)
		if err != nil {
			return nil, err
		}
		slices.Sort(took)
		lines = append(lines, fmt.Sprintf("%-34s median %.2f ms, 99 of 100 under %.2f ms, slowest %.2f ms, processor %.2f ms", by.name,
			median(took), took[len(took)*99/100], took[len(took)-1], (after.cpu-before.cpu)/1000/lookedUp))
	}
	return lines, nil
}
