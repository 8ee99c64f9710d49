package requestid_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/requestid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValid(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "azAZ09._-": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\n": false, "é": false, `a"`: false, "a/b": false, "a:b": false, "\x1b[2J": false,
	} {
		require.Equal(t, want, requestid.Valid(text), "%q", text)
	}
}

func TestContext(t *testing.T) {
	require.Empty(t, requestid.FromContext(t.Context()))
	require.Equal(t, "r1", requestid.FromContext(requestid.With(t.Context(), "r1")))
}
