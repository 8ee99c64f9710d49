package webhook

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far the timestamp of a message may be from the receiver's
// clock, in either direction.
const Tolerance = 5 * time.Minute

const (
	signatureVersion = "v1,"
	// signatureLength is that of a SHA-256 in base64.
	signatureLength = 44
	// maxSignatures bounds what a header can make its reader do.
	maxSignatures = 16
)

// The errors of Verify.
var (
	// ErrHeaders is a missing or unreadable header.
	ErrHeaders = errors.New("webhook: a header is missing or unreadable")
	// ErrTimestamp is a timestamp further away than [Tolerance]: perhaps a
	// message that somebody recorded and plays again.
	ErrTimestamp = errors.New("webhook: the timestamp is too far from now")
	// ErrSignature is a header in which no signature fits.
	ErrSignature = errors.New("webhook: no signature fits")
)

// Sign returns the value of webhook-signature for a message: one signature for
// each secret, newest first, apart by a space, so that a receiver that has
// only the old or only the new secret of a rotation accepts it. ts counts to
// the second and must be sent as webhook-timestamp. Zero secrets are left out.
func Sign(id string, ts time.Time, body []byte, secrets ...Secret) string {
	return sign(id, formatTimestamp(ts), body, secrets)
}

func sign(id, timestamp string, body []byte, secrets []Secret) string {
	// Room for the two signatures of a rotation without an allocation.
	var room [2 * (len(signatureVersion) + signatureLength + 1)]byte
	header := room[:0]
	for _, secret := range secrets {
		if secret.IsZero() {
			continue
		}
		if len(header) > 0 {
			header = append(header, ' ')
		}
		header = append(header, signatureVersion...)
		header = secret.appendSignature(header, id, timestamp, body)
	}
	return string(header)
}

func formatTimestamp(ts time.Time) string { return strconv.FormatInt(ts.Unix(), 10) }

// Verify checks the Standard Webhooks headers of a message against secrets, any
// of which may fit. Its errors are [ErrHeaders], [ErrTimestamp] and
// [ErrSignature].
func Verify(header http.Header, body []byte, now time.Time, secrets ...Secret) error {
	id, timestamp, signatures := header.Get(HeaderID), header.Get(HeaderTimestamp), header.Get(HeaderSignature)
	if id == "" || timestamp == "" || signatures == "" {
		return ErrHeaders
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	// What is signed is the number; "+5" and "005" would be other texts for it.
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return ErrHeaders
	}
	if distance := now.Sub(time.Unix(seconds, 0)); distance > Tolerance || distance < -Tolerance {
		return ErrTimestamp
	}
	given, count := parseSignatures(signatures)
	for _, secret := range secrets {
		if secret.IsZero() {
			continue
		}
		var room [signatureLength]byte
		want := secret.appendSignature(room[:0], id, timestamp, body)
		for _, signature := range given[:count] {
			if subtle.ConstantTimeCompare([]byte(signature), want) == 1 {
				return nil
			}
		}
	}
	return ErrSignature
}

// parseSignatures returns the signatures of the known version in header, at
// most maxSignatures of them. Other versions and anything unreadable are
// passed over, as the specification asks.
func parseSignatures(header string) (signatures [maxSignatures]string, count int) {
	for part := range strings.SplitSeq(header, " ") {
		signature, ok := strings.CutPrefix(part, signatureVersion)
		if !ok || len(signature) != signatureLength {
			continue
		}
		if count == maxSignatures {
			break
		}
		signatures[count] = signature
		count++
	}
	return signatures, count
}
