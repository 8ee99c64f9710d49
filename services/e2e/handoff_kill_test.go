package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// The load of a kill run with people: each replies to one conversation, in
// which the person speaks too.
const (
	killHanded  = 20
	killReplies = 40 // a conversation, and as many messages of its person
	replyKills  = 4
)

// handsOver is an agent that gives every conversation to people at once.
const handsOver = `{displayName: Loja, fallback: human, nodes: {human: {say: [{text: "Vou chamar alguém."}], handoff: {squad: geral}}}}`

// TestRepliesKilledUnderLoad kills random processes with -9 while people reply
// to conversations in which their persons speak too. Every acknowledged reply is
// delivered as one message, in its place in the conversation, and stands in the
// history once; a call without an answer, repeated with its key, is one reply;
// and the bot says nothing (I1, I2, I5, I12).
func TestRepliesKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	eachDeployment(t, func(t *testing.T, cluster *harness.Cluster) {
		ctx := harness.Within(t, killWithin)
		random := harness.Random(t)
		receiver, err := harness.NewReceiver(nil)
		require.NoError(t, err)
		defer receiver.Close()
		client := harness.NewClient(cluster.HTTP)
		defer client.Close()
		setup, err := client.Create(ctx, "replies-"+strconv.FormatUint(random.Uint64()%1e6, 10), handsOver, receiver.URL, false)
		require.NoError(t, err)
		for n := range killHanded { // one after the other: so the attendances have the numbers of the persons
			say(ctx, t, client, setup.ChannelID, handed(n), "oi")
			require.NoError(t, receiver.WaitCount(ctx, n+1))
		}

		ledger := harness.NewLedger()
		var speakers sync.WaitGroup
		for n := range killHanded {
			speakers.Go(func() {
				path := fmt.Sprintf("/v1/instances/%s/attendances/%d:reply", setup.Instance, n+1)
				for i := range killReplies {
					heard, said := fmt.Sprintf("%s ouviu %d", handed(n), i), fmt.Sprintf("%s disse %d", handed(n), i)
					untilAccepted(ctx, func() (int, error) {
						status, _, err := client.Send(ctx, setup.ChannelID, handed(n), said, said)
						return status, err
					})
					untilAccepted(ctx, func() (int, error) { return reply(ctx, client, path, heard) })
					ledger.Add(handed(n), heard)
				}
			})
		}
		for kill := range replyKills {
			at := float64(killHanded*killReplies) * (float64(kill) + random.Float64()) / replyKills
			require.NoError(t, ledger.Wait(ctx, int(at)), "the load stands still")
			require.NoError(t, cluster.KillAndRestart(random.IntN(cluster.Size())))
			require.NoError(t, cluster.WaitReady(ctx))
		}
		speakers.Wait()
		require.NoError(t, ctx.Err(), "the load did not end in time")
		require.NoError(t, receiver.WaitCount(ctx, killHanded*(1+killReplies)), "acknowledged replies that did not arrive")

		arrived, sequences := map[string][]string{}, map[string]int64{}
		for _, delivery := range receiver.First() {
			sequences[delivery.InteractionID]++
			require.Equal(t, sequences[delivery.InteractionID], delivery.Sequence, "no gap and no inversion in a conversation")
			var content struct {
				Messages []struct{ Text, Origin string }
			}
			require.NoError(t, json.Unmarshal(delivery.Body, &content))
			message := content.Messages[0]
			if delivery.Sequence == 1 {
				require.Equal(t, "bot", message.Origin)
				continue
			}
			require.Equal(t, "human", message.Origin)
			arrived[delivery.InteractionID] = append(arrived[delivery.InteractionID], message.Text)
		}
		accepted := ledger.Accepted()
		require.Len(t, arrived, len(accepted))
		for _, texts := range arrived {
			var person string
			_, err := fmt.Sscanf(texts[0], "%s ouviu 0", &person)
			require.NoError(t, err)
			require.Equal(t, accepted[person], texts, "every acknowledged reply arrives once, in order")
		}
		checkReplies(ctx, t, client, setup, handed(0))
	})
}

func handed(n int) string { return fmt.Sprintf("person-%d", n) }

// untilAccepted repeats a call until it is acknowledged.
func untilAccepted(ctx context.Context, call func() (status int, err error)) {
	for {
		if status, err := call(); err == nil && status == http.StatusOK {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// reply has somebody answer in the bot's place; the words are the key too.
func reply(ctx context.Context, client *harness.Client, path, text string) (status int, err error) {
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, client.Base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+harness.RootKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", text)
	response, err := client.HTTP.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// checkReplies compares what contacts remembers of a person with what was said.
func checkReplies(ctx context.Context, t *testing.T, client *harness.Client, setup harness.Setup, person string) {
	t.Helper()
	want := []string{"user: oi", "bot: Vou chamar alguém."}
	for i := range killReplies {
		want = append(want, fmt.Sprintf("user: %s disse %d", person, i), fmt.Sprintf("human: %s ouviu %d", person, i))
	}
	query := map[string]any{"filters": map[string]any{"identifier": person}, "flags": map[string]any{"history": true}}
	for {
		var answer struct {
			Contacts []struct {
				Interactions int
				History      []struct {
					Sender  string
					Message []struct{ Text string }
				}
			}
		}
		require.NoError(t, client.Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, query, &answer))
		require.Len(t, answer.Contacts, 1, "one attendance")
		var got []string
		for _, item := range answer.Contacts[0].History {
			got = append(got, item.Sender+": "+item.Message[0].Text)
		}
		if len(got) < len(want) {
			require.NoError(t, ctx.Err(), "the history is not complete")
			time.Sleep(queryPause)
			continue
		}
		require.Equal(t, want, got)
		require.Equal(t, 1+killReplies, answer.Contacts[0].Interactions, "those of the person")
		return
	}
}
