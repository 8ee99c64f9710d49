package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

// TestManyStreamsLoseNothing streams 200 answers of 200 tokens at once, and
// counts what one costs: commits, and the time to its first block.
func TestManyStreamsLoseNothing(t *testing.T) {
	ctx := harness.Within(t, 2*time.Minute)
	all := spoken(200)
	text := strings.Join(all, "")
	model := modeltest.New(t, modeltest.Says(all...))
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "conversations-rate": "0"}})
	c := newChat(ctx, t, prosa, fmt.Sprintf(chatting, model.URL))

	conversation := c.begin(ctx, t)
	for range 3 {
		before := settled(ctx, t, prosa)
		got, err := c.plain(ctx, conversation, "oi")
		require.NoError(t, err)
		require.Equal(t, text, got)
		answered, recorded := commitsOf(ctx, t, prosa, "agent"), settled(ctx, t, prosa)
		// How many an answer itself costs is counted where nothing else writes; here the recording of the turn may be among them.
		t.Logf("a streamed answer of 200 tokens: %d commits of the agent's store when it has ended, %d when it is recorded", answered-before, recorded-before)
		require.LessOrEqual(t, recorded-before, 6, "commits are by the answer, not by the token")
	}
	compareFirstBlocks(ctx, t, c, model.URL)

	const streams = 200
	conversations := make([]string, streams)
	for i := range conversations {
		conversations[i] = c.begin(ctx, t)
	}
	before := commitsOf(ctx, t, prosa, "agent")
	var group sync.WaitGroup
	for i := range streams {
		group.Go(func() {
			got, err := c.plain(ctx, conversations[i], "oi")
			assert.NoError(t, err)
			assert.Equal(t, text, got)
		})
	}
	group.Wait()
	t.Logf("%d streams at once: %d commits of the agent's store", streams, commitsOf(ctx, t, prosa, "agent")-before)
}

// settled waits until the agent's store writes nothing any more, and gives how
// many transactions it has committed.
func settled(ctx context.Context, t *testing.T, prosa *harness.Process) int {
	t.Helper()
	for last, quiet := -1, 0; ; {
		n := commitsOf(ctx, t, prosa, "agent")
		if quiet++; n != last {
			last, quiet = n, 0
		}
		if quiet == 10 {
			return n
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "the store does not come to rest")
		}
	}
}

// commitsOf is how many transactions a store has committed.
func commitsOf(ctx context.Context, t *testing.T, prosa *harness.Process, store string) int {
	t.Helper()
	_, body, err := get(ctx, t, prosa.Metrics+"/metrics")
	require.NoError(t, err)
	for line := range strings.Lines(body) {
		var n int
		if _, err := fmt.Sscanf(line, `prosa_store_commits_total{store="`+store+`"} %d`, &n); err == nil {
			return n
		}
	}
	return 0
}

// compareFirstBlocks shows how much later the first block comes through Prosa
// than from the model itself, asked in turns A B B A. It judges nothing: the
// machine may be busy with something else, which the medians of what is
// measured against itself show.
func compareFirstBlocks(ctx context.Context, t *testing.T, c *chatClient, modelURL string) {
	t.Helper()
	const warm, pairs = 5, 40
	var direct, through, headers, behind, apart []time.Duration
	for i := range warm + pairs {
		// One that has begun, and has not much of a past that the model must be told.
		conversation := c.begin(ctx, t)
		_, err := c.plain(ctx, conversation, "oi")
		require.NoError(t, err)
		fromModel := func() (header, block time.Duration) {
			return c.firstBlock(ctx, t, modelURL+"/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"oi"}]}`)
		}
		fromProsa := func() (header, block time.Duration) {
			return c.firstBlock(ctx, t, c.base+"/conversation/stream/"+conversation, `{"text":"oi"}`)
		}
		_, a := fromModel()
		h, b := fromProsa()
		h2, b2 := fromProsa()
		_, a2 := fromModel()
		if i < warm {
			continue
		}
		direct, through, headers = append(direct, a, a2), append(through, b, b2), append(headers, h, h2)
		behind, apart = append(behind, (b+b2-a-a2)/2), append(apart, a2-a)
	}
	t.Logf("first block through REST behind direct: median %s, half of %d pairs from %s to %s; direct %s, through %s, "+
		"the message is on disk after %s; direct behind direct: half from %s to %s",
		part(behind, 2), pairs, part(behind, 1), part(behind, 3), part(direct, 2), part(through, 2), part(headers, 2), part(apart, 1), part(apart, 3))
}

// part is a quartile: the first, the second, which is the median, or the third.
func part(of []time.Duration, quartile int) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)*quartile/4]
}

// firstBlock makes a call and says when its header came, and the first block
// of the model's answer.
func (c *chatClient) firstBlock(ctx context.Context, t *testing.T, url, body string) (header, block time.Duration) {
	t.Helper()
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+c.setup.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	header = time.Since(began)
	var seen []byte
	buffer := make([]byte, 4096)
	for !bytes.Contains(seen, []byte("peça 0")) {
		n, err := response.Body.Read(buffer)
		seen = append(seen, buffer[:n]...)
		require.True(t, n > 0 || err == nil, "%s", err)
	}
	block = time.Since(began)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return header, block
}
