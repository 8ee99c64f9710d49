package erasure_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func hasher(t *testing.T, key string) *erasure.Hasher {
	t.Helper()
	box, err := secretbox.New(strings.Repeat(key, secretbox.MinKeyLength))
	require.NoError(t, err)
	return erasure.NewHasher(box)
}

func TestHashesTellPersonsApart(t *testing.T) {
	h := hasher(t, "k")
	ana := h.Person("acme", "ana")
	require.Regexp(t, "^[0-9a-f]{64}$", ana)
	require.Equal(t, ana, hasher(t, "k").Person("acme", "ana"), "the same in every process")
	for name, other := range map[string]string{
		"another person": h.Person("acme", "Ana"), "another instance": h.Person("zeta", "ana"), "the parts shifted": h.Person("acmea", "na"),
		"an id": h.Contact("acme", "ana"), "another key": hasher(t, "l").Person("acme", "ana"),
	} {
		require.NotEqual(t, ana, other, name)
	}
	require.Empty(t, erasure.Subject{Instance: "acme", Identifier: "ana"}.Person(), "nobody")
	require.Equal(t, ana, erasure.Subject{Hasher: h, Instance: "acme", Identifier: "ana"}.Person())
}

func TestLogKeepsWhatWasAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "erasures.log")
	log, err := erasure.OpenLog(path)
	require.NoError(t, err)
	entries, broken, err := log.Entries()
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Zero(t, broken)

	person := strings.Repeat("a", 64)
	first := erasure.Entry{Instance: "acme", Person: person, Contacts: []string{strings.Repeat("b", 64)}, Cut: start}
	require.NoError(t, log.Append(first))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// A crash left a part of a line; another process goes on.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString("\n" + `{"instance":"acme","person":"` + person[:10])
	require.NoError(t, errors.Join(err, file.Close()))
	again, err := erasure.OpenLog(path)
	require.NoError(t, err)
	second := erasure.Entry{Instance: "zeta", Person: person, Cut: start.Add(time.Second)}
	require.NoError(t, again.Append(second))
	for _, l := range []*erasure.Log{log, again} {
		entries, broken, err = l.Entries()
		require.NoError(t, err)
		require.Equal(t, []erasure.Entry{first, second}, entries)
		require.Equal(t, 1, broken)
	}
	require.Equal(t, erasure.Record{Instance: "acme", Person: person, Cut: start}, first.Record())
}

func TestLogThatCannotBeWrittenSaysSo(t *testing.T) {
	folder := t.TempDir()
	_, err := erasure.OpenLog(filepath.Join(folder, "nowhere", "erasures.log"))
	require.Error(t, err)
	log, err := erasure.OpenLog(filepath.Join(folder, "erasures.log"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(folder))
	require.Error(t, log.Append(erasure.Entry{Instance: "acme", Person: strings.Repeat("a", 64), Cut: start}))

	var none *erasure.Log
	require.NoError(t, none.Append(erasure.Entry{}))
	entries, broken, err := none.Entries()
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Zero(t, broken)
}

func TestFindGoesThroughAllIdentifiers(t *testing.T) {
	h := hasher(t, "k")
	pages := map[string][][]string{"acme": {{"a", "b"}, {}, {"b", "c"}}, "zeta": {{"c"}}}
	list := func(_ context.Context, instance, cursor string) ([]string, string, error) {
		at := len(cursor)
		page := pages[instance][at]
		if at+1 < len(pages[instance]) {
			return page, cursor + "x", nil
		}
		return page, "", nil
	}
	record := func(instance, identifier string, cut time.Time) erasure.Record {
		return erasure.Record{Instance: instance, Person: h.Person(instance, identifier), Cut: cut}
	}
	var found []string
	err := erasure.Find(t.Context(), h, []erasure.Record{
		record("zeta", "c", start), record("acme", "b", start), record("acme", "b", start.Add(time.Hour)), record("acme", "nobody", start),
	}, list, func(_ context.Context, r erasure.Record, identifier string) error {
		found = append(found, r.Instance+"/"+identifier+"/"+r.Cut.Sub(start).String())
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"acme/b/1h0m0s", "zeta/c/0s"}, found, "once each, by the last erasure")

	failed := errors.New("the store is away")
	err = erasure.Find(t.Context(), h, []erasure.Record{record("acme", "a", start)}, list, func(context.Context, erasure.Record, string) error { return failed })
	require.ErrorIs(t, err, failed)
	err = erasure.Find(t.Context(), h, []erasure.Record{record("acme", "a", start)}, func(context.Context, string, string) ([]string, string, error) {
		return nil, "", failed
	}, nil)
	require.ErrorIs(t, err, failed)
}
