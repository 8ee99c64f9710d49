package e2e

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/e2e/internal/population"
	"github.com/prosa-chat/prosa/services/e2e/internal/reporter"
)

// walked is a query, and how its author tells from an answer that something
// belongs to it.
type walked struct {
	name     string
	query    reporter.Query
	contains func(reporter.Contact) bool
}

// walkedQueries are the kinds of queries: every filter alone, and together what
// one index does not have.
func walkedQueries() []walked {
	type contact = reporter.Contact
	days := func(from, until string) func(contact) bool {
		return func(c contact) bool { return c.DateCreated >= from && c.DateCreated <= until }
	}
	all := func(conditions ...func(contact) bool) func(contact) bool {
		return func(c contact) bool {
			return !slices.ContainsFunc(conditions, func(holds func(contact) bool) bool { return !holds(c) })
		}
	}
	assistant := func(id int64) func(contact) bool { return func(c contact) bool { return c.AssistantID == id } }
	source := func(name string) func(contact) bool { return func(c contact) bool { return c.Source == name } }
	has := func(name, value string) func(contact) bool {
		return func(c contact) bool { return c.Attributes[name] == value }
	}
	phone := population.Phone(0)
	spelled := "+" + phone[:2] + " (" + phone[2:4] + ") " + phone[4:9] + "-" + phone[9:]
	old := days("2019-01-01", "2022-12-31")
	return []walked{
		{"everything", reporter.Query{}, all()},
		{"id", reporter.Query{Filters: reporter.Filters{ID: 40}}, func(c contact) bool { return c.ID == 40 }},
		{"assistant", reporter.Query{Filters: reporter.Filters{AssistantID: 1}}, assistant(1)},
		{"source", reporter.Query{Filters: reporter.Filters{Source: "api"}}, source("api")},
		{
			"days", reporter.Query{Filters: reporter.Filters{StartDate: "2024-01-01", EndDate: "2024-12-31"}},
			days("2024-01-01", "2024-12-31"),
		},
		{"days before younger numbers", reporter.Query{Filters: reporter.Filters{EndDate: "2022-12-31"}}, days("", "2022-12-31")},
		{"days until now", reporter.Query{Filters: reporter.Filters{StartDate: "2025-01-01"}}, days("2025-01-01", "9")},
		{
			"assistant and source", reporter.Query{Filters: reporter.Filters{AssistantID: 2, Source: "api_channel"}},
			all(assistant(2), source("api_channel")),
		},
		{
			"assistant, source and days",
			reporter.Query{Filters: reporter.Filters{AssistantID: 1, Source: "whatsapp", StartDate: "2019-01-01", EndDate: "2022-12-31"}},
			all(assistant(1), source("whatsapp"), old),
		},
		{
			"identifier", reporter.Query{Filters: reporter.Filters{Identifier: population.Identifier(1)}},
			func(c contact) bool { return c.Identifier == population.Identifier(1) },
		},
		{
			"identifier and assistant", reporter.Query{Filters: reporter.Filters{Identifier: population.Identifier(0), AssistantID: 1}},
			all(func(c contact) bool { return c.Identifier == population.Identifier(0) }, assistant(1)),
		},
		{"phone of three", reporter.Query{Attributes: map[string]string{"phone": phone}}, has("phone", spelled)},
		{
			"phone of three and days",
			reporter.Query{Filters: reporter.Filters{StartDate: "2023-01-01"}, Attributes: map[string]string{"phone": phone}},
			all(has("phone", spelled), days("2023-01-01", "9")),
		},
		{"email", reporter.Query{Attributes: map[string]string{"email": strings.ToUpper(population.Email(3))}}, has("email", population.Email(3))},
	}
}

// TestWalks checks I9 with a client that was written from the documentation
// alone: while attendances are opened, go on, end and are imported, every walk
// over any query shows each attendance that was there when it began exactly
// once, however small its pages are, and also when Prosa dies in its middle.
func TestWalks(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		settings["contacts-rate"], settings["contacts-daily"] = "0", "0" // the limits are tested elsewhere
		spec := harness.Spec{Settings: settings}
		setup := populated(t, spec)
		prosa := start(t, spec)
		job := &reporter.Reporter{URL: prosa.HTTP, Instance: setup.Instance, Token: setup.Key, HTTP: &http.Client{Timeout: time.Minute}}
		t.Cleanup(job.HTTP.CloseIdleConnections)
		before, err := job.Contacts(t.Context(), reporter.Query{Filters: reporter.Filters{Limit: 500}}, nil)
		require.NoError(t, err)
		require.Len(t, before, populatedAttendances)

		known := map[int64]reporter.Contact{}
		for _, c := range before {
			known[c.ID] = c
		}

		written := writeOn(t, prosa, setup)
		for _, w := range walkedQueries() {
			t.Run(w.name, func(t *testing.T) {
				var want []int64
				for _, c := range before {
					if w.contains(c) {
						want = append(want, c.ID)
					}
				}
				require.NotEmpty(t, want)
				w.query.Filters.Limit = max(1, len(want)/8)
				at := written.Load()
				seen, err := job.Contacts(t.Context(), w.query, func(int) { waitFor(t, written, &at) })
				require.NoError(t, err)
				requireOnce(t, want, seen, func(c reporter.Contact) int64 { return c.ID })
				for _, c := range seen {
					require.True(t, w.contains(c), "%+v", c)
					if was, ok := known[c.ID]; ok { // and not the neighbour's
						c.Interactions, c.FinishedAt = was.Interactions, was.FinishedAt // which may go on
						require.Equal(t, was, c)
					}
				}
			})
		}
		t.Run("events", func(t *testing.T) { walkEvents(t, job, written) })
	})
}

// TestWalksGoOnAfterDeath kills Prosa in the middle of walks.
func TestWalksGoOnAfterDeath(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		settings["contacts-rate"], settings["contacts-daily"] = "0", "0"
		setup := populated(t, harness.Spec{Settings: settings})
		cluster, err := harness.StartTogether(t.Context(), binary, settings)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
		job := &reporter.Reporter{URL: cluster.HTTP, Instance: setup.Instance, Token: setup.Key, HTTP: &http.Client{Timeout: time.Minute}}
		t.Cleanup(job.HTTP.CloseIdleConnections)
		ctx, cancel := context.WithTimeout(t.Context(), stepWithin)
		defer cancel()
		for _, w := range walkedQueries() {
			switch w.name {
			case "everything", "assistant and source", "phone of three": // read in order, picked, by persons
			default:
				continue
			}
			whole, err := job.Contacts(ctx, w.query, nil)
			require.NoError(t, err)
			w.query.Filters.Limit = max(1, len(whole)/3)
			again, err := job.Contacts(ctx, w.query, func(page int) {
				if page == 1 {
					require.NoError(t, cluster.KillAndRestart(0))
				}
			})
			require.NoError(t, err)
			require.Equal(t, whole, again)
		}
	})
}

// requireOnce checks that every number that is wanted is seen, and none twice.
func requireOnce[T any](t *testing.T, want []int64, seen []T, number func(T) int64) {
	t.Helper()
	times := map[int64]int{}
	for _, one := range seen {
		times[number(one)]++
		require.Equal(t, 1, times[number(one)], "%d is seen again", number(one))
	}
	for _, id := range want {
		require.Equal(t, 1, times[id], "%d is not seen", id)
	}
}

// populatedAttendances is how many attendances the walks begin with.
const populatedAttendances = 1500

// populated makes an instance with attendances and a neighbour with the same
// people.
func populated(t *testing.T, spec harness.Spec) harness.Setup {
	t.Helper()
	spec.Binary = binary
	prosa, err := harness.Start(t.Context(), spec)
	require.NoError(t, err)
	management := harness.NewClient(prosa.HTTP)
	defer management.Close()
	setup, err := management.Create(t.Context(), "walked", harness.Echo, "http://127.0.0.1:9/", false)
	require.NoError(t, err)
	require.NoError(t, prosa.Stop())
	specs := []population.Spec{
		{Instance: setup.Instance, Seed: 1, Attendances: populatedAttendances, Items: 6},
		{Instance: "neighbour", Seed: 2, Attendances: 400, Items: 4},
	}
	if url := spec.Settings["database-url"]; url != "" {
		_, err = population.FillPostgres(t.Context(), url, specs...)
	} else {
		_, err = population.FillSQLite(t.Context(), filepath.Join(spec.Settings["data-dir"], "contacts.db"), specs...)
	}
	require.NoError(t, err)
	return setup
}

// writeOn opens attendances by messages and imports others, until the test
// ends. It counts what was written.
func writeOn(t *testing.T, prosa *harness.Process, setup harness.Setup) *atomic.Int64 {
	t.Helper()
	written := new(atomic.Int64)
	ctx, stop := context.WithCancel(t.Context())
	client := harness.NewClient(prosa.HTTP)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		stop()
		wg.Wait()
		client.Close()
	})
	wg.Go(func() { // people who are known, and new ones
		for n := 0; ctx.Err() == nil; n++ {
			person := population.Identifier(n % 40)
			if n%3 == 0 {
				person = fmt.Sprint("new-", n)
			}
			if status, _, err := client.Send(ctx, setup.ChannelID, person, "oi", ""); err == nil && status == http.StatusOK {
				written.Add(1)
			}
		}
	})
	wg.Go(func() { // days, sources and agents that are walked over
		for n := 0; ctx.Err() == nil; n++ {
			at := time.Date(2019, 1, 1+n%2500, 15, 0, 0, 0, time.UTC)
			err := client.Call(ctx, http.MethodPost, "/v1/instances/"+setup.Instance+"/attendances:import", map[string]any{"attendances": []any{map[string]any{
				"externalId": fmt.Sprint("late-", n), "identifier": population.Identifier(n % 7), "assistantId": 1 + n%2,
				"source": []string{"whatsapp", "api", "api_channel"}[n%3], "createTime": at,
				"history": []any{map[string]any{"time": at, "sender": "user", "messages": []any{map[string]any{"text": map[string]any{"text": "oi"}}}}},
				"events":  []any{map[string]any{"time": at, "eventName": "encerramento"}},
			}}}, nil)
			if err == nil {
				written.Add(1)
			}
		}
	})
	return written
}

// waitFor waits until more was written than at, which it moves on.
func waitFor(t *testing.T, written *atomic.Int64, at *int64) {
	require.Eventually(t, func() bool { return written.Load() > *at }, stepWithin, time.Millisecond)
	*at = written.Load()
}

// walkEvents walks over events in both orders.
func walkEvents(t *testing.T, job *reporter.Reporter, written *atomic.Int64) {
	for name, filters := range map[string]reporter.Filters{
		"everything":             {},
		"ascending":              {Sort: "ASC"},
		"name":                   {EventName: "transbordo"},
		"name and assistant":     {EventName: "encerramento", AssistantID: 1},
		"name, times, ascending": {EventName: "encerramento", StartDate: "2019-01-01 00:00:00", EndDate: "2022-12-31 23:59:59", Sort: "ASC"},
		"person":                 {Identifier: population.Identifier(1)},
		"times with others between": {
			StartDate: "2023-06-01 00:00:00",
		},
	} {
		whole := reporter.Query{Filters: filters}
		whole.Filters.Limit = 1000
		before, err := job.Events(t.Context(), whole, nil)
		require.NoError(t, err, name)
		require.NotEmpty(t, before, name)
		var want []int64
		for _, e := range before {
			want = append(want, e.ID)
		}
		parts := reporter.Query{Filters: filters}
		parts.Filters.Limit = max(1, len(want)/6)
		at := written.Load()
		seen, err := job.Events(t.Context(), parts, func(int) { waitFor(t, written, &at) })
		require.NoError(t, err, name)
		requireOnce(t, want, seen, func(e reporter.Event) int64 { return e.ID })
	}
}

// TestReporterIsAnOutsider keeps the client of the walks one that anybody could
// have written.
func TestReporterIsAnOutsider(t *testing.T) {
	files, err := filepath.Glob("internal/reporter/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imported := range file.Imports {
			require.NotContains(t, imported.Path.Value, ".", "only the standard library")
		}
	}
}
