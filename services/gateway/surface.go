package gateway

import "strings"

// surface is a family of paths that answers every failure in one form.
type surface uint8

const (
	surfaceOther        surface = iota // what no other surface has; problem+json
	surfaceOperations                  // health, document and its page; problem+json
	surfaceManagement                  // /v1; problem+json
	surfaceConversation                // /conversation; problem+json
	surfaceAPIChannel                  // /webhooks
	surfaceContacts                    // /contacts
	surfaceEvents                      // /events
	surfaceBotAPI                      // /{slug}/api, and what is below
	surfaces                           // how many there are
)

// String is the surface's name in metrics, logs and spans.
func (s surface) String() string {
	return [surfaces]string{"other", "operations", "management", "conversation", "api_channel", "contacts", "events", "bot_api"}[s]
}

// surfaceOf finds the surface of a path, which is still escaped: an encoded slash does not end a segment.
func surfaceOf(path string) surface {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "webhooks":
		return surfaceAPIChannel
	case "contacts":
		return surfaceContacts
	case "events":
		return surfaceEvents
	case "v1":
		return surfaceManagement
	case "conversation":
		return surfaceConversation
	case "openapi.json", "docs":
		return surfaceOperations
	case "livez", "readyz": // no slug is kept from being one of these words
		if rest == "" {
			return surfaceOperations
		}
	case "", "console":
		return surfaceOther
	}
	if rest == "api" || strings.HasPrefix(rest, "api/") {
		return surfaceBotAPI
	}
	return surfaceOther
}
