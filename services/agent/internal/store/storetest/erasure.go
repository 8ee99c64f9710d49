package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func hasher(t *testing.T) *erasure.Hasher {
	t.Helper()
	box, err := secretbox.New(strings.Repeat("k", secretbox.MinKeyLength))
	require.NoError(t, err)
	return erasure.NewHasher(box)
}

// erase erases a person as the service does.
func (f *fixture) erase(t *testing.T, instance, identifier string, cut time.Time) map[string]int64 {
	t.Helper()
	record := erasure.Record{Instance: instance, Person: hasher(t).Person(instance, identifier), Cut: cut, Counts: map[string]int64{}}
	require.NoError(t, f.store.BeginErasure(t.Context(), record))
	found, err := f.store.PersonConversations(t.Context(), instance, identifier)
	require.NoError(t, err)
	for _, c := range found {
		_, err := f.store.EraseConversation(t.Context(), instance, c.ID, record.Counts)
		require.NoError(t, err)
	}
	require.NoError(t, f.store.FinishErasure(t.Context(), record, cut))
	return record.Counts
}

// opens is an opening turn of a person on an endpoint, whose message came at a time.
func opens(t *testing.T, instance, identifier, endpoint, id, conversation string, accepted time.Time) *store.Turn {
	turn := openingTurn(instance, "a1", id, conversation)
	turn.Lane.Identifier, turn.Lane.EndpointID = identifier, endpoint
	turn.Person = erasure.Subject{Hasher: hasher(t), Instance: instance, Identifier: identifier, Accepted: accepted}
	return turn
}

func (f *fixture) personRows(t *testing.T, instance string) map[string]int {
	t.Helper()
	rows := make(map[string]int)
	for _, table := range []string{"conversation", "turn", "pending_record", "refused_record", "chat_turn", "chat_conversation", "conversation_note"} {
		rows[table] = f.count(t, `SELECT count(*) FROM `+table+` WHERE instance = $1`, instance)
	}
	return rows
}

func erasedPersonIsGone(t *testing.T, f *fixture) {
	for _, instance := range []string{"acme", "zeta"} {
		f.createAgent(t, instance, "a1")
		for _, who := range []string{"ana", "bia"} {
			for n := range 3 {
				id := fmt.Sprintf("%s-%s-%d", instance, who, n)
				f.commit(t, opens(t, instance, who, fmt.Sprint("e", n), id, "c-"+id, start))
				l := lane(instance, "a1")
				l.Identifier, l.EndpointID = who, fmt.Sprint("e", n)
				for k := range n {
					f.commit(t, f.nextTurn(t, l, fmt.Sprint(id, "+", k)))
				}
			}
			// One in which nothing was said.
			require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
				return f.store.CreateChat(ctx, tx, store.NewChat{
					Instance: instance, ID: "chat-" + who, AgentID: "a1", Identifier: who, Head: who, CreateTime: start,
					Metadata: []byte{}, MetadataWords: "words",
				})
			}))
		}
	}
	before, elsewhere := f.personRows(t, "acme"), f.personRows(t, "zeta")
	found, err := f.store.PersonConversations(t.Context(), "acme", "ana")
	require.NoError(t, err)
	require.Len(t, found, 4)
	counts, err := f.store.CountPerson(t.Context(), "acme", found)
	require.NoError(t, err)
	want := map[string]int64{store.KindConversations: 4, store.KindTurns: 6}
	require.Equal(t, want, counts)
	require.Equal(t, before, f.personRows(t, "acme"), "counting changes nothing")

	detail, err := f.store.DescribeConversation(t.Context(), "acme", "c-acme-ana-2")
	require.NoError(t, err)
	require.Len(t, detail.Turns, 3)
	require.Equal(t, "answer of acme-ana-2", string(detail.Turns[0].Answer))
	detail, err = f.store.DescribeConversation(t.Context(), "acme", "chat-ana")
	require.NoError(t, err)
	require.Len(t, detail.Records, 2)

	require.Equal(t, want, f.erase(t, "acme", "ana", start.Add(time.Hour)))
	for table, n := range f.personRows(t, "acme") {
		require.Equal(t, before[table]/2, n, table)
	}
	require.Equal(t, elsewhere, f.personRows(t, "zeta"))
	require.Empty(t, f.erase(t, "acme", "ana", start.Add(time.Hour)), "again")

	var all []string
	for cursor, begun := "", false; cursor != "" || !begun; begun = true {
		page, next, err := f.store.Identifiers(t.Context(), "acme", cursor)
		require.NoError(t, err)
		all, cursor = append(all, page...), next
	}
	require.Subset(t, []string{"bia"}, all)
	require.NotEmpty(t, all)
}

func erasureRefusesLateTurns(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, opens(t, "acme", "ana", "e1", "m1", "c1", start))
	l := lane("acme", "a1")
	l.Identifier = "ana"
	next := f.nextTurn(t, l, "m2") // computed before the erasure
	next.Person = erasure.Subject{Hasher: hasher(t), Instance: "acme", Identifier: "ana", Accepted: start}
	cut := start.Add(time.Minute)
	f.erase(t, "acme", "ana", cut)
	empty := f.personRows(t, "acme")

	require.ErrorIs(t, f.store.CommitTurn(t.Context(), next), store.ErrConflict)
	for _, accepted := range []time.Time{start, cut} {
		err := f.store.CommitTurn(t.Context(), opens(t, "acme", "ana", "e1", "m3", "c3", accepted))
		require.ErrorIs(t, err, store.ErrErased)
	}
	require.Equal(t, empty, f.personRows(t, "acme"))
	f.commit(t, opens(t, "acme", "bia", "e1", "m4", "c4", start))
	f.commit(t, opens(t, "acme", "ana", "e1", "m5", "c5", cut.Add(time.Microsecond)))
}

func keysOfErasedAreForgotten(t *testing.T, f *fixture) {
	const mine, other = "0123456789abcdef01234567", "fedcba9876543210fedcba98"
	for key, response := range map[string]string{"a": mine, "b": other, "c": "\x0a\x18" + mine + "\x12\x03abc", "d": "f" + other, "e": ""} {
		require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			_, err := idempotency.Take(ctx, tx, idempotency.Key{Instance: "acme", Scope: "s", Key: key}, []byte(response), start)
			return err
		}))
	}
	require.NoError(t, f.store.ForgetKeys(t.Context(), "acme", map[string]bool{mine: true}))
	require.Equal(t, 3, f.count(t, `SELECT count(*) FROM idempotency WHERE instance = 'acme' AND key IN ('b', 'd', 'e')`))
	require.Equal(t, 3, f.count(t, `SELECT count(*) FROM idempotency WHERE instance = 'acme'`))
}

func chatsOfErasedSayNothing(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	turn := chatTurn("acme", "c1", "m1", "h1")
	f.accept(t, turn)
	require.NoError(t, f.store.FailChat(t.Context(), &turn, "PERSON_ERASED"))
	require.Equal(t, 1, f.count(t, "SELECT count(*) FROM chat_turn WHERE instance = 'acme' AND failure = 'PERSON_ERASED' AND identifier = '' AND length(text) = 0"))
}

// openingsWhileErasing commits openings at the same time as their person is erased: nothing that came before the last cut stays.
func openingsWhileErasing(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	const committers, each = 4, 20
	done := make(chan error, committers)
	for n := range committers {
		go func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", n, i)
				err := f.store.CommitTurn(context.WithoutCancel(t.Context()), opens(t, "acme", "ana", id, "m"+id, "c"+id, start.Add(time.Duration(i)*time.Minute)))
				if err != nil && !errors.Is(err, store.ErrErased) {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 5 {
		f.erase(t, "acme", "ana", start.Add(time.Duration(4*i)*time.Minute))
	}
	f.erase(t, "acme", "ana", start.Add(each*time.Minute))
	for range committers {
		require.NoError(t, <-done)
	}
	for table, n := range f.personRows(t, "acme") {
		require.Zero(t, n, table)
	}
}

func oldConversationsAreDeleted(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	end := func(id string, finish time.Time) {
		turn := opens(t, "acme", "ana", "e-"+id, "m-"+id, fmt.Sprintf("%08x0000000000000000", finish.Unix()-60)+"", start)
		turn.Finished, turn.Time = true, finish
		f.commit(t, turn)
	}
	for n := range 5 {
		end(fmt.Sprint(n), start.Add(time.Duration(n)*time.Hour))
	}
	open := opens(t, "acme", "bia", "e", "m-open", fmt.Sprintf("%08xaaaaaaaaaaaaaaaa", start.Unix()), start)
	f.commit(t, open)
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		return f.store.CreateChat(ctx, tx, store.NewChat{
			Instance: "acme", ID: fmt.Sprintf("%08xbbbbbbbbbbbbbbbb", start.Unix()), AgentID: "a1", Identifier: "bia", Head: "bia", CreateTime: start,
		})
	}))
	retire := func(before time.Time) map[string]int64 {
		all := make(map[string]int64)
		for cursor, begun := "", false; cursor != "" || !begun; begun = true {
			next, deleted, err := f.store.Retire(t.Context(), "acme", before, cursor)
			require.NoError(t, err)
			for kind, n := range deleted {
				all[kind] += n
			}
			cursor = next
		}
		return all
	}
	require.Empty(t, retire(start.Add(90 * time.Minute))[store.KindTurns], "contacts does not have them yet")
	lease, held, err := f.store.TakeLease(t.Context(), "recorder", "h", start, start.Add(time.Minute))
	require.NoError(t, err)
	require.True(t, held)
	pending, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 100)
	require.NoError(t, err)
	keys := make([]store.RecordKey, len(pending))
	for i, p := range pending {
		keys[i] = p.Key
	}
	require.NoError(t, f.store.DeleteRecords(t.Context(), lease, "acme", keys))

	require.Equal(t, map[string]int64{store.KindConversations: 2, store.KindTurns: 2}, retire(start.Add(90*time.Minute)))
	require.Equal(t, 4, f.personRows(t, "acme")["conversation"])
	require.Equal(t, map[string]int64{store.KindConversations: 3, store.KindTurns: 3}, retire(start.Add(1000*time.Hour)))
	rows := f.personRows(t, "acme")
	require.Equal(t, 1, rows["conversation"], "the one that goes on")
	require.Equal(t, 1, rows["turn"])
	require.Zero(t, rows["chat_conversation"], "nothing was said in it")
	next, err := f.store.NextInstance(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "acme", next)
	next, err = f.store.NextInstance(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, next)
}
