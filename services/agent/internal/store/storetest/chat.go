package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func (f *fixture) createChat(t *testing.T, instance, id string) {
	t.Helper()
	c := store.NewChat{Instance: instance, ID: id, AgentID: "a1", Identifier: "joão", CreateTime: start}
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return f.store.CreateChat(ctx, tx, c) }))
}

func chatTurn(instance, conversation, id, holder string) store.ChatTurn {
	return store.ChatTurn{
		Instance: instance, ConversationID: conversation, ID: id, AgentID: "a1", Identifier: "joão", Text: "olá\x00 ção", AcceptTime: start,
		Holder: holder,
	}
}

func (f *fixture) accept(t *testing.T, turn store.ChatTurn) store.AcceptedChat {
	t.Helper()
	accepted, err := f.store.AcceptChat(t.Context(), turn, nil, store.ChatLease{}, 11)
	require.NoError(t, err)
	return accepted
}

// answerChat commits the turn of a chat message that opens its conversation.
func (f *fixture) answerChat(t *testing.T, instance, conversation, id string) {
	t.Helper()
	turn := openingTurn(instance, "a1", id, conversation)
	turn.Lane.EndpointID = conversation
	require.NoError(t, f.store.CommitTurn(t.Context(), turn))
}

func chatTargets(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	f.createChat(t, "acme", "c1")
	target, err := f.store.ChatTarget(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Equal(t, store.ChatTarget{AgentID: "a1", Identifier: "joão"}, target)
	for _, stranger := range [][2]string{{"other", "c1"}, {"acme", "c2"}} {
		_, err = f.store.ChatTarget(t.Context(), stranger[0], stranger[1])
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	exists, err := f.store.HasConversation(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.False(t, exists)

	f.answerChat(t, "acme", "c1", "m1")
	target, err = f.store.ChatTarget(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.False(t, target.Owned)
	require.False(t, target.Finished)
	require.False(t, target.UpdateTime.IsZero())
	exists, err = f.store.HasConversation(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.True(t, exists)
	exists, err = f.store.HasConversation(t.Context(), "other", "c1")
	require.NoError(t, err)
	require.False(t, exists)

	owned := openingTurn("acme", "a1", "m2", "c2")
	owned.Finished = true
	require.NoError(t, f.store.CommitTurn(t.Context(), owned))
	target, err = f.store.ChatTarget(t.Context(), "acme", "c2")
	require.NoError(t, err)
	require.True(t, target.Owned)
	require.True(t, target.Finished)
}

func chatMessagesQueue(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	require.Equal(t, store.AcceptedChat{ID: "m1", Number: 1}, f.accept(t, chatTurn("acme", "c1", "m1", "h1")))
	require.Equal(t, store.AcceptedChat{ID: "m2", Number: 2}, f.accept(t, chatTurn("acme", "c1", "m2", "h1")))
	require.Equal(t, store.AcceptedChat{ID: "m3", Number: 3, Behind: true}, f.accept(t, chatTurn("acme", "c1", "m3", "h2")))
	require.Equal(t, store.AcceptedChat{ID: "x1", Number: 1}, f.accept(t, chatTurn("other", "c1", "x1", "h1")), "another instance has its own")
	last := chatTurn("acme", "c1", "m3", "h2")
	last.Number = 3
	ahead, err := f.store.ChatIsAhead(t.Context(), &last)
	require.NoError(t, err)
	require.True(t, ahead)

	_, err = f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m4", "h1"), nil, store.ChatLease{}, 3)
	require.ErrorIs(t, err, store.ErrQueueFull)
	key := &idempotency.Key{Instance: "acme", Scope: "chat", Key: "k"}
	_, err = f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m4", "h1"), key, store.ChatLease{}, 3)
	require.ErrorIs(t, err, store.ErrQueueFull)

	// What is done, or has failed, waits no more; a number is not used twice meanwhile.
	f.answerChat(t, "acme", "c1", "m1")
	second := chatTurn("acme", "c1", "m2", "h1")
	require.NoError(t, f.store.FailChat(t.Context(), &second, "INTERNAL"))
	ahead, err = f.store.ChatIsAhead(t.Context(), &last)
	require.NoError(t, err)
	require.False(t, ahead)
	accepted, err := f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m4", "h1"), key, store.ChatLease{}, 3)
	require.NoError(t, err, "the refusal left the key free")
	require.Equal(t, store.AcceptedChat{ID: "m4", Number: 4, Behind: true}, accepted)
	require.Equal(t, 3, f.count(t, "SELECT count(*) FROM chat_turn WHERE instance = 'acme'"), "the one that is answered is cleared")

	again, err := f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m5", "h1"), key, store.ChatLease{}, 0)
	require.NoError(t, err, "the same message is no new one")
	require.Equal(t, store.AcceptedChat{ID: "m4", Repeated: true}, again)
	key.Fingerprint = [32]byte{1}
	_, err = f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m5", "h1"), key, store.ChatLease{}, 11)
	require.ErrorIs(t, err, idempotency.ErrReused)
}

func chatMessagesAtOnce(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	var group sync.WaitGroup
	numbers := make(chan int64, 4)
	for i := range 4 {
		group.Go(func() {
			accepted, err := f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", fmt.Sprint("m", i), "h1"), nil, store.ChatLease{}, 11)
			if assert.NoError(t, err) {
				numbers <- accepted.Number
			}
		})
	}
	group.Wait()
	close(numbers)
	seen := map[int64]bool{}
	for n := range numbers {
		seen[n] = true
	}
	require.Equal(t, map[int64]bool{1: true, 2: true, 3: true, 4: true}, seen)
}

func chatStates(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	f.accept(t, chatTurn("acme", "c1", "m1", "h1"))
	state, err := f.store.Chat(t.Context(), "acme", "c1", "m1")
	require.NoError(t, err)
	require.Zero(t, state)
	for _, stranger := range [][3]string{{"other", "c1", "m1"}, {"acme", "c2", "m1"}, {"acme", "c1", "m2"}} {
		_, err = f.store.Chat(t.Context(), stranger[0], stranger[1], stranger[2])
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	turn := chatTurn("acme", "c1", "m1", "h1")
	require.NoError(t, f.store.FailChat(t.Context(), &turn, "INTERNAL"))
	state, err = f.store.Chat(t.Context(), "acme", "c1", "m1")
	require.NoError(t, err)
	require.Equal(t, store.ChatState{Failure: "INTERNAL"}, state)

	f.accept(t, chatTurn("acme", "c1", "m2", "h1"))
	f.answerChat(t, "acme", "c1", "m2")
	for range 2 {
		state, err = f.store.Chat(t.Context(), "acme", "c1", "m2")
		require.NoError(t, err)
		require.NotEmpty(t, state.Answer)
		require.NoError(t, f.store.SweepChats(t.Context(), start)) // the failed one is not older
	}
	_, err = f.store.Chat(t.Context(), "acme", "c2", "m2")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Equal(t, 1, f.count(t, "SELECT count(*) FROM chat_turn"))
	require.NoError(t, f.store.SweepChats(t.Context(), start.Add(time.Microsecond)))
	require.Zero(t, f.count(t, "SELECT count(*) FROM chat_turn"))
}

func chatMessagesAreTakenOver(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	lease := store.ChatLease{Holder: "h1", Now: start, Until: start.Add(time.Minute)}
	_, err := f.store.AcceptChat(t.Context(), chatTurn("acme", "c1", "m1", "h1"), nil, lease, 11)
	require.NoError(t, err)
	f.accept(t, chatTurn("acme", "c1", "m2", "h1"))
	f.accept(t, chatTurn("acme", "c1", "m3", "h1"))
	f.answerChat(t, "acme", "c1", "m2")

	found, err := f.store.AbandonedChats(t.Context(), "h2", start, 10)
	require.NoError(t, err)
	require.Empty(t, found, "their holder lives")
	found, err = f.store.AbandonedChats(t.Context(), "h1", start, 10)
	require.NoError(t, err)
	require.Len(t, found, 2, "its own are its own")
	require.NoError(t, f.store.HoldChats(t.Context(), store.ChatLease{Holder: "h1", Now: start, Until: start.Add(2 * time.Minute)}))
	late := start.Add(2 * time.Minute)
	found, err = f.store.AbandonedChats(t.Context(), "h2", late.Add(-time.Microsecond), 10)
	require.NoError(t, err)
	require.Empty(t, found)
	found, err = f.store.AbandonedChats(t.Context(), "h2", late, 10)
	require.NoError(t, err)
	want := []store.ChatTurn{chatTurn("acme", "c1", "m1", "h1"), chatTurn("acme", "c1", "m3", "h1")}
	want[0].Number, want[1].Number = 1, 3
	require.Equal(t, want, found)
	one, err := f.store.AbandonedChats(t.Context(), "h2", late, 1)
	require.NoError(t, err)
	require.Len(t, one, 1)

	claimed, err := f.store.ClaimChats(t.Context(), found, "h2", store.ChatLease{Holder: "h2", Now: late, Until: late.Add(time.Minute)})
	require.NoError(t, err)
	require.Len(t, claimed, 2)
	require.Equal(t, "h2", claimed[0].Holder)
	require.EqualValues(t, 1, claimed[0].Tries)
	claimed, err = f.store.ClaimChats(t.Context(), found, "h3", store.ChatLease{})
	require.NoError(t, err)
	require.Empty(t, claimed, "somebody else was first")
	found, err = f.store.AbandonedChats(t.Context(), "h3", late, 10)
	require.NoError(t, err)
	require.Empty(t, found)
}

func chatTurnsAreStopped(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createChat(t, "acme", "c1")
	id, err := f.store.StopChat(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Empty(t, id)
	f.accept(t, chatTurn("acme", "c1", "m1", "h1"))
	f.accept(t, chatTurn("acme", "c1", "m2", "h1"))
	f.answerChat(t, "acme", "c1", "m1")
	for _, stranger := range [][2]string{{"other", "c1"}, {"acme", "c2"}} {
		id, err = f.store.StopChat(t.Context(), stranger[0], stranger[1])
		require.NoError(t, err)
		require.Empty(t, id)
	}
	id, err = f.store.StopChat(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Equal(t, "m2", id, "the first without an answer")
	ids, err := f.store.StoppedChats(t.Context(), "h1")
	require.NoError(t, err)
	require.Equal(t, []string{"m2"}, ids)
	ids, err = f.store.StoppedChats(t.Context(), "h2")
	require.NoError(t, err)
	require.Empty(t, ids)
}
