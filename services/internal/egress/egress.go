// Package egress guards and tunes the calls that leave Prosa for addresses
// which its users choose: webhooks, callbacks, calls of a flow, models.
//
// A target is looked at twice. [Guard.CheckURL] refuses, when a URL is saved,
// what can never be right, so that the person who typed it hears of it. The
// guarantee is the second look: every connection of [Guard.Client] is checked
// on the address that is really dialled, after name resolution, so that a name
// which resolves to a public address now and to an inner one later is refused
// then. A connection that is reused was checked when it was made and cannot
// change its peer.
package egress
