package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/prosa-chat/prosa/services/internal/egress"
)

// Class says in one stable word how an attempt failed. It is what is stored,
// shown and counted: the text of an error may name inner hosts.
type Class string

// The classes of failure.
const (
	// None is no failure: the receiver acknowledged.
	None Class = ""
	// Canceled is an attempt that its caller interrupted. It says nothing about
	// the receiver and does not count as an attempt.
	Canceled Class = "canceled"
	// BadRequest is a request that cannot be made: an unreadable URL or header.
	BadRequest Class = "bad_request"
	// RefusedTarget is a target that must not be called.
	RefusedTarget Class = "refused_target"
	// Timeout is an exchange that did not end in time.
	Timeout Class = "timeout"
	// DNS is a name that did not resolve.
	DNS Class = "dns"
	// Connect is a connection that could not be made.
	Connect Class = "connect"
	// TLS is a handshake that failed, or a certificate that does not fit.
	TLS Class = "tls"
	// Reset is a connection that ended before the answer did.
	Reset Class = "reset"
	// Protocol is an answer that is no HTTP, or one with too large a header.
	Protocol Class = "protocol"
	// Status is a status that does not acknowledge.
	Status Class = "status"
	// NotAcknowledged is a status that could acknowledge, with a body that
	// does not.
	NotAcknowledged Class = "not_acknowledged"
)

// Classes are all classes of failure.
func Classes() []Class {
	return []Class{Canceled, BadRequest, RefusedTarget, Timeout, DNS, Connect, TLS, Reset, Protocol, Status, NotAcknowledged}
}

// classify names the failure err of an exchange. caller is the context that
// came in, without the attempt's own deadline.
func classify(caller context.Context, err error) Class {
	var (
		refused *egress.Refused
		dns     *net.DNSError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &refused):
		return RefusedTarget
	case errors.Is(caller.Err(), context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case isTLS(err):
		return TLS
	case errors.As(err, &dns):
		return DNS
	case errors.As(err, &op) && op.Op == "dial":
		return Connect
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return Reset
	}
	return Protocol
}

func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		op          *net.OpError
		invalid     x509.CertificateInvalidError
		host        x509.HostnameError
		authority   x509.UnknownAuthorityError
	)
	if errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &invalid) || errors.As(err, &host) || errors.As(err, &authority) ||
		errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	// An alert of the peer comes as an operation of this name.
	if errors.As(err, &op) && op.Op == "remote error" {
		return true
	}
	// What else can go wrong in a handshake has no exported type.
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "tls: ") {
			return true
		}
	}
	return false
}
