package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// answer is what a call came to, whatever it was made over.
type answer struct {
	status int
	body   []byte
	header http.Header
}

// transport makes the calls of cases.
type transport interface {
	// call makes a call; it gives false when the transport cannot express it.
	call(ctx context.Context, t *testing.T, c call, v values) (answer, bool)
	// hasBody says that answers carry the documented bodies.
	hasBody() bool
}

// body gives the bytes of a call's body.
func (c call) body(t *testing.T, v values) []byte {
	t.Helper()
	body := []byte(v.expand(c.Body))
	if c.JSON != nil {
		var err error
		body, err = json.Marshal(v.expandAll(c.JSON))
		require.NoError(t, err)
	}
	if missing := c.Pad - len(body); missing > 0 {
		body = append(body, bytes.Repeat([]byte(" "), missing)...)
	}
	return body
}

// restTransport calls the gateway.
type restTransport struct{ client *harness.Client }

func (restTransport) hasBody() bool { return true }

func (r restTransport) call(ctx context.Context, t *testing.T, c call, v values) (answer, bool) {
	t.Helper()
	body := c.body(t, v)
	var reader io.Reader = bytes.NewReader(body)
	if c.Chunked {
		reader = io.MultiReader(reader) // hides the length
	}
	if len(body) == 0 {
		reader = nil
	}
	request, err := http.NewRequestWithContext(ctx, c.Method, r.client.Base+v.expand(c.Path), reader)
	require.NoError(t, err)
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.Headers {
		if strings.EqualFold(name, "content-type") && value == "" {
			request.Header.Del(name)
			continue
		}
		request.Header.Set(name, v.expand(value))
	}
	response, err := r.client.HTTP.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{status: response.StatusCode, body: content, header: response.Header}, true
}
