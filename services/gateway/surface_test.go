package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSurfaceOf(t *testing.T) {
	for path, want := range map[string]surface{
		"/webhooks/api": surfaceAPIChannel, "/webhooks": surfaceAPIChannel, "/contacts/loja": surfaceContacts,
		"/events/loja": surfaceEvents, "/v1/instances": surfaceManagement, "/conversation/x": surfaceConversation,
		"/livez": surfaceOperations, "/readyz": surfaceOperations, "/openapi.json": surfaceOperations, "/docs/page.js": surfaceOperations,
		"/loja/api/64a1": surfaceBotAPI, "/loja/api/": surfaceBotAPI, "/loja/api": surfaceBotAPI, "/loja/api/64a1/x": surfaceBotAPI,
		"/loja/other/64a1": surfaceOther, "/loja/apis/64a1": surfaceOther, "/loja": surfaceOther,
		// A slug may be one of these words.
		"/livez/api/64a1": surfaceBotAPI, "/readyz/api/64a1": surfaceBotAPI, "/livez/x": surfaceOther,
		// A slug may not be one of these.
		"/webhooks/api/64a1": surfaceAPIChannel, "/docs/api/64a1": surfaceOperations, "/console/api/64a1": surfaceOther,
		"/": surfaceOther, "": surfaceOther, "*": surfaceOther, "/webhooks%2Fapi": surfaceOther,
	} {
		require.Equal(t, want, surfaceOf(path), path)
	}
}
