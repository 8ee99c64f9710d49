package chat_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// mixed tells an answer of every kind: text that streams, a menu, a medium, text as a whole.
func mixed(step func(ctx context.Context) error) tell {
	return func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
		made := timestamppb.New(r.GetAcceptTime().AsTime())
		all := pieces(20)
		for _, piece := range all {
			if err := step(ctx); err != nil {
				return err
			}
			sink.Text(piece)
		}
		sink.Message(words(r, strings.Join(all, "")))
		if err := step(ctx); err != nil {
			return err
		}
		sink.Message(&messagev1.Message{CreateTime: made, Msgid: "64a1b2c3d4e5f6a7b8c9d0e1", Content: &messagev1.Message_Buttons{
			Buttons: &messagev1.Buttons{Text: "Como posso ajudar?", Options: []*messagev1.Option{{Label: "Sim"}, {Label: "Não"}}},
		}})
		sink.Message(&messagev1.Message{CreateTime: made, Content: &messagev1.Message_Media{
			Media: &messagev1.Media{Kind: messagev1.Media_KIND_IMAGE, Link: "https://example.com/a.png", Text: "Onde está"},
		}})
		if err := step(ctx); err != nil {
			return err
		}
		sink.Text("fim")
		sink.Message(words(r, "fim."))
		return nil
	}
}

func freely(context.Context) error { return nil }

const mixedText = "Como posso ajudar?\n1. Sim\n2. Não\n\nOnde está\nhttps://example.com/a.png\n\nfim."

// A stream that is cut behind any of its events and resumed gives the same as one that is not: while the turn runs, when it is stored,
// and after a restart.
func TestStreamCutAnywhereGoesOnAlike(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		conversation := f.conversation(t)
		f.runner.set(mixed(freely))
		whole := read(t, f.say(t, conversation, "oi"), chat.Beginning())
		require.Equal(t, strings.Join(pieces(20), "")+"\n\n"+mixedText, text(whole))
		require.Equal(t, 29, len(whole), "20 pieces and their message, two more with a text each, two pieces and their message, the end")
		done := whole[len(whole)-1].Proto().GetDone()
		require.Len(t, done.GetMessages(), 4)
		require.False(t, done.GetInterrupted())

		for restarts := range 2 {
			for i := range whole {
				interaction, err := f.Find(t.Context(), "acme", conversation, done.GetId())
				require.NoError(t, err)
				require.NoError(t, interaction.Check(t.Context(), whole[i].At()))
				require.Equal(t, shown(t, whole[i+1:]), shown(t, read(t, interaction, whole[i].At())), "restarts %d, cut behind %d", restarts, i)
			}
			f.stop()
			f.start(t, f.deps(t))
		}

		// The same answer in another conversation, followed from every place before it is there.
		release := make(chan struct{})
		f.runner.set(mixed(func(context.Context) error { <-release; return nil }))
		running := f.say(t, f.conversation(t), "oi")
		var group sync.WaitGroup
		for i := range whole[:len(whole)-1] {
			group.Go(func() {
				events, err := readTo(t.Context(), running, placeOf(t, whole[i]))
				assert.ErrorIs(t, err, io.EOF)
				assert.Equal(t, text(whole[i+1:]), text(events), "cut behind %d", i)
				assert.Len(t, events, len(whole)-i-1)
			})
		}
		close(release)
		group.Wait()
	})
}

// placeOf is the place behind an event as a caller sends it.
func placeOf(t testing.TB, e chat.Event) chat.Place {
	t.Helper()
	place, ok := chat.ParsePlace(e.Proto().GetId())
	require.True(t, ok)
	require.Equal(t, e.At(), place)
	return place
}

// The turn that was running when the process was killed runs again, and who saw a part of its answer goes on in the new one.
func TestStreamGoesOnAfterACrash(t *testing.T) {
	for seen := range 22 {
		eachEngine(t, func(t *testing.T, f *fixture) {
			if f.db.Dialect().String() == "postgres" && seen%6 != 0 {
				t.Skip("the store makes no difference to most")
			}
			conversation := f.conversation(t)
			steps := make(chan struct{})
			f.runner.set(mixed(func(ctx context.Context) error {
				select {
				case <-steps:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}))
			running := f.say(t, conversation, "oi")
			before := make([]chat.Event, 0, 32)
			place := chat.Beginning()
			for range seen {
				steps <- struct{}{}
				events, err := running.Next(t.Context(), place)
				require.NoError(t, err)
				before = append(before, events...)
				place = before[len(before)-1].At()
			}
			f.stop()
			rest, err := readTo(t.Context(), running, place)
			require.Equal(t, "UNAVAILABLE", rpcerr.Reason(err), "no end that looks like one")
			before = append(before, rest...)

			f.runner.set(mixed(freely))
			f.start(t, f.deps(t))
			resumed, err := f.Find(t.Context(), "acme", conversation, running.ID)
			require.NoError(t, err)
			if len(before) > 0 {
				place = placeOf(t, before[len(before)-1])
			}
			after := read(t, resumed, place)
			whole := append(before, after...)
			require.Equal(t, shown(t, read(t, resumed, chat.Beginning())), shown(t, whole))
			require.Equal(t, strings.Join(pieces(20), "")+"\n\n"+mixedText, text(whole))
			require.Equal(t, 1, f.count(t, "SELECT count(*) FROM turn"))
			require.LessOrEqual(t, f.runner.ran(), 2)
		})
	}
}

// An answer that comes out otherwise than what was shown of it is never passed off as the same.
func TestStreamThatCannotGoOnSaysSo(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		conversation := f.conversation(t)
		told := f.saysOnly("um começo")
		running := f.say(t, conversation, "oi")
		<-told
		seen, err := running.Next(t.Context(), chat.Beginning())
		require.NoError(t, err)
		f.stop()
		release := make(chan struct{})
		f.runner.set(func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			<-release
			return said("outro começo")(ctx, r, sink)
		})
		f.start(t, f.deps(t))
		resumed, err := f.Find(t.Context(), "acme", conversation, running.ID)
		require.NoError(t, err)
		require.NoError(t, resumed.Check(t.Context(), seen[0].At()), "nobody knows yet")
		close(release)
		_, err = readTo(t.Context(), resumed, seen[0].At())
		require.Equal(t, "STREAM_DIVERGED", rpcerr.Reason(err))
		require.Equal(t, "outro começo", text(read(t, resumed, chat.Beginning())))
		resumed, err = f.Find(t.Context(), "acme", conversation, running.ID)
		require.NoError(t, err)
		require.Equal(t, "STREAM_DIVERGED", rpcerr.Reason(resumed.Check(t.Context(), seen[0].At())))
		// A place that no answer has is no place of this one either.
		far, ok := chat.ParsePlace("999-0000000000000001")
		require.True(t, ok)
		require.Equal(t, "STREAM_DIVERGED", rpcerr.Reason(resumed.Check(t.Context(), far)))
	})
}

// A turn that is computed again, because it was overtaken, goes on where its readers are.
func TestRestartedAnswerGoesOnWhereItsReadersAre(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		again := make(chan struct{})
		f.runner.set(func(_ context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			sink.Text("um ")
			sink.Text("dois ")
			<-again
			sink.Restart()
			sink.Text("um dois") // in other pieces
			sink.Text(" três")
			sink.Message(words(r, "um dois três"))
			return nil
		})
		running := f.say(t, f.conversation(t), "oi")
		first, err := running.Next(t.Context(), chat.Beginning())
		require.NoError(t, err)
		for len(first) < 2 {
			more, err := running.Next(t.Context(), first[len(first)-1].At())
			require.NoError(t, err)
			first = append(first, more...)
		}
		close(again)
		require.Equal(t, "três", text(read(t, running, first[1].At())))
		require.Equal(t, "dois três", text(read(t, running, first[0].At())))
	})
}

// 200 streams of 200 pieces at once lose nothing, and cost less than three commits each.
func TestManyStreamsAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const streams = 200
		all := pieces(200)
		f.runner.set(func(_ context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			for _, piece := range all {
				sink.Text(piece)
			}
			sink.Message(words(r, strings.Join(all, "")))
			return nil
		})
		conversations := make([]string, streams)
		for i := range conversations {
			conversations[i] = f.conversation(t)
		}
		before := f.commits(t)
		var group sync.WaitGroup
		for i := range streams {
			group.Go(func() {
				running, err := f.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversations[i], Text: "oi"})
				if !assert.NoError(t, err) {
					return
				}
				events, err := readTo(t.Context(), running, chat.Beginning())
				assert.ErrorIs(t, err, io.EOF)
				assert.Len(t, events, 202)
				assert.Equal(t, strings.Join(all, ""), text(events))
			})
		}
		group.Wait()
		require.LessOrEqual(t, f.commits(t)-before, 2*streams)
	})
}

// A streamed answer of 200 pieces costs two commits: that of the message and that of the turn.
func TestCommitsOfAStream(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		all := pieces(200)
		f.runner.set(func(_ context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			for _, piece := range all {
				sink.Text(piece)
			}
			sink.Message(words(r, strings.Join(all, "")))
			return nil
		})
		conversation := f.conversation(t)
		for range 3 {
			before := f.commits(t)
			require.Equal(t, strings.Join(all, ""), text(read(t, f.say(t, conversation, "oi"), chat.Beginning())))
			require.Equal(t, 2, f.commits(t)-before)
		}
		require.Equal(t, 1, f.count(t, "SELECT count(*) FROM chat_turn"), "the one before was cleared by the next message")
	})
}

// A reader that does not read holds up neither the turn nor other readers, and its place is all that it costs.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.runner.set(mixed(freely))
		conversation := f.conversation(t)
		running := f.say(t, conversation, "oi")
		first, err := running.Next(t.Context(), chat.Beginning())
		require.NoError(t, err)
		require.Len(t, read(t, running, chat.Beginning()), 29)
		require.Len(t, read(t, f.say(t, conversation, "e agora"), chat.Beginning()), 29)
		require.Len(t, append(first, read(t, running, first[len(first)-1].At())...), 29)
	})
}
