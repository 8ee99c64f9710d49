package egress

// Reason says why a target is refused. The words are stable: they are shown to
// callers and counted in metrics.
type Reason string

// The reasons for which a target is refused.
const (
	// ReasonLength is a URL of more than [MaxURLLength] characters.
	ReasonLength Reason = "length"
	// ReasonMalformed is text that is no absolute URL, or one with white
	// space, control characters or invalid UTF-8.
	ReasonMalformed Reason = "malformed"
	// ReasonScheme is a scheme other than https, or http where it is not allowed.
	ReasonScheme Reason = "scheme"
	// ReasonUserInfo is a user name or password in the URL.
	ReasonUserInfo Reason = "user_info"
	// ReasonHost is a missing host, one that is no DNS name, or an address in
	// a spelling that resolvers read differently (0x7f.1, 0177.0.0.1).
	ReasonHost Reason = "host"
	// ReasonPort is a port outside 1–65535.
	ReasonPort Reason = "port"
	// ReasonAddress is an address that is not on the public internet and that
	// no allowed range covers.
	ReasonAddress Reason = "address"
)

var reasonTexts = map[Reason]string{
	ReasonLength:    "the URL is longer than 2048 characters",
	ReasonMalformed: "not an absolute URL",
	ReasonScheme:    "the scheme is not allowed",
	ReasonUserInfo:  "user name and password are not allowed in a URL",
	ReasonHost:      "the host is neither a DNS name nor an address in its usual form",
	ReasonPort:      "the port is not between 1 and 65535",
	ReasonAddress:   "the address is not public",
}

// Refused is the error for a target that must not be called.
type Refused struct {
	// Reason says why.
	Reason Reason
}

// Error tells the reason in words. It names neither host nor address: what an
// inner name resolves to is nothing that the owner of a webhook should learn.
func (r *Refused) Error() string {
	return "target refused: " + reasonTexts[r.Reason]
}

func refuse(reason Reason) error { return &Refused{Reason: reason} }
