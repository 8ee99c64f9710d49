package answer

import (
	"net/mail"
	"strings"
)

const maxEmail = 254 // characters, RFC 5321 4.5.3.1.3 less the brackets

// email accepts an addr-spec of RFC 5322, without a display name, brackets, quotes or comments, whose domain has a point, and gives it in
// lower case.
func email(s string) (string, bool) {
	if len(s) > maxEmail {
		return "", false
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Address != s {
		return "", false
	}
	if _, domain, _ := strings.Cut(s, "@"); !strings.Contains(domain, ".") {
		return "", false
	}
	return strings.ToLower(s), true
}
