package model_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

func TestTimeouts(t *testing.T) {
	t.Run("first token", func(t *testing.T) {
		f := newFixture(t, modeltest.Hangs())
		done := f.later(t)
		f.clock.AwaitTimers(2)
		f.clock.Advance(15*time.Second - 1)
		f.clock.AwaitTimers(2)
		f.clock.Advance(1)
		requireFault(t, <-done, "first_token_timeout")
	})
	t.Run("first token, as the definition has it", func(t *testing.T) {
		f := newFixture(t, modeltest.Hangs())
		f.prompt.Settings.FirstTokenTimeout = durationpb.New(2 * time.Second)
		done := f.later(t)
		f.clock.AwaitTimers(2)
		f.clock.Advance(2 * time.Second)
		requireFault(t, <-done, "first_token_timeout")
	})
	t.Run("next token", func(t *testing.T) {
		f := newFixture(t, modeltest.Hangs("a", "b"))
		f.heard = make(chan string, 2)
		f.prompt.Settings.TokenTimeout = durationpb.New(20 * time.Second)
		done := f.later(t)
		require.Equal(t, "a", <-f.heard)
		require.Equal(t, "b", <-f.heard)
		require.Eventually(t, func() bool {
			f.clock.Advance(time.Second)
			select {
			case err := <-done:
				requireFault(t, err, "token_timeout")
				return true
			default:
				return false
			}
		}, 10*time.Second, time.Millisecond)
	})
	t.Run("a token in ten seconds, for ever", func(t *testing.T) {
		f := newFixture(t)
		next := make(chan string)
		f.server.Script(modeltest.Paced(next))
		f.heard = make(chan string)
		done := f.later(t)
		for range 6 {
			next <- "a"
			require.Equal(t, "a", <-f.heard)
			f.clock.Advance(10 * time.Second)
		}
		requireFault(t, <-done, "timeout")
	})
	t.Run("no time left", func(t *testing.T) {
		f := newFixture(t, modeltest.Hangs())
		f.prompt.Deadline = start
		_, err := f.ask(t)
		requireFault(t, err, "timeout")
	})
	t.Run("the caller goes away", func(t *testing.T) {
		f := newFixture(t, modeltest.Hangs("a"))
		f.heard = make(chan string)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := f.client.Ask(ctx, "acme", f.prompt, f.hear)
			done <- err
		}()
		<-f.heard
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.EqualValues(t, 1, f.outcomes("canceled"))
	})
}

func TestRetriesBeforeTheFirstToken(t *testing.T) {
	for name, bad := range map[string]modeltest.Reply{
		"500": modeltest.Status(500), "503": modeltest.Status(503), "429": modeltest.Status(429), "408": modeltest.Status(408),
		"the connection breaks": modeltest.Dies(), "the stream ends": modeltest.EndsEarly(), "it tells of an error": modeltest.Raw("data: {\"error\":{\"message\":\"sk-canary\"}}\n\n"),
		"Retry-After": modeltest.Status(429, "Retry-After", "2"), "a date": modeltest.Status(503, "Retry-After", start.Add(2*time.Second).Format(http.TimeFormat)),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, bad, bad, modeltest.Says("ok"))
			done := f.later(t)
			for range 2 {
				f.clock.AwaitTimers(3)
				f.clock.Advance(2 * time.Second)
			}
			require.NoError(t, <-done)
			require.Equal(t, []string{"ok"}, f.pieces)
			require.Len(t, f.server.Requests(), 3)
		})
	}
	t.Run("not for ever", func(t *testing.T) {
		f := newFixture(t, modeltest.Status(500))
		done := f.later(t)
		for range 2 {
			f.clock.AwaitTimers(3)
			f.clock.Advance(time.Second)
		}
		requireFault(t, <-done, "status_500")
		require.Len(t, f.server.Requests(), 3)
		require.EqualValues(t, 1, f.outcomes("status"))
	})
	t.Run("the wait backs off", func(t *testing.T) {
		f := newFixture(t, modeltest.Status(500))
		done := f.later(t)
		f.clock.AwaitTimers(3)
		f.clock.Advance(125*time.Millisecond - 1)
		require.Len(t, f.server.Requests(), 1)
		f.clock.Advance(1)
		f.clock.AwaitTimers(3)
		require.Len(t, f.server.Requests(), 2)
		f.clock.Advance(250*time.Millisecond - 1)
		require.Len(t, f.server.Requests(), 2)
		f.clock.Advance(1)
		requireFault(t, <-done, "status_500")
	})
	t.Run("not when there is no time for it", func(t *testing.T) {
		f := newFixture(t, modeltest.Status(429, "Retry-After", "15"))
		_, err := f.ask(t)
		requireFault(t, err, "status_429")
		require.Len(t, f.server.Requests(), 1)
	})
	t.Run("not after it", func(t *testing.T) {
		for _, bad := range []modeltest.Reply{modeltest.Dies("a"), modeltest.EndsEarly("a")} {
			f := newFixture(t, bad)
			_, err := f.ask(t)
			requireFault(t, err, "cut_off")
			require.Len(t, f.server.Requests(), 1)
			require.Equal(t, []string{"a"}, f.pieces)
		}
	})
	t.Run("not what fails for a reason", func(t *testing.T) {
		for _, status := range []int{400, 401, 403, 404, 422} {
			f := newFixture(t, modeltest.Status(status))
			_, err := f.ask(t)
			require.Error(t, err)
			require.Len(t, f.server.Requests(), 1)
		}
	})
	t.Run("an empty thought does not count", func(t *testing.T) {
		f := newFixture(t, modeltest.Raw(`data: {"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":null,"x":[],"y":""}}]}`+"\n\n"),
			modeltest.Says("ok"))
		done := f.later(t)
		f.clock.AwaitTimers(3)
		f.clock.Advance(time.Second)
		require.NoError(t, <-done)
		require.Len(t, f.server.Requests(), 2)
	})
	t.Run("a thought counts as a token", func(t *testing.T) {
		f := newFixture(t, modeltest.Raw(`data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}`+"\n\n"))
		_, err := f.ask(t)
		requireFault(t, err, "cut_off")
		require.Len(t, f.server.Requests(), 1)
		require.Empty(t, f.pieces)
	})
}
