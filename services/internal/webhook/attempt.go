package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// MaxAnswer is how many bytes of an answer are read before the connection
	// is closed on the rest.
	MaxAnswer = 64 << 10
	// KeptAnswer is how many bytes of an answer an Outcome keeps.
	KeptAnswer = 1 << 10
	// DefaultTimeout bounds an exchange whose request names no time-out.
	DefaultTimeout = 15 * time.Second

	smallAnswer = 2 << 10
)

// Clock tells the time, in UTC.
type Clock interface{ Now() time.Time }

// Request is what one attempt sends.
type Request struct {
	// URL is the target. Whether it may be called is for the client's guard.
	URL string
	// ID is the webhook-id: the same on every attempt of a delivery.
	ID string
	// Body is the JSON to send, byte for byte. It is not changed, and must not
	// be changed by others while the attempt runs.
	Body []byte
	// Headers are sent too, if Prosa does not set a header of that name. They are not changed.
	Headers http.Header
	// Secrets sign the message, newest first; none leaves it unsigned.
	Secrets []Secret
	// Traceparent makes what the receiver does part of a trace (W3C Trace
	// Context); "" sends none.
	Traceparent string
	// Sequence is the value of Prosa-Sequence, from 1; 0 leaves it out.
	Sequence uint64
	// UserAgent is "Prosa/" and the version.
	UserAgent string
	// Timeout bounds the whole exchange, from the look-up of the name to the
	// last byte of the answer. 0 is [DefaultTimeout].
	Timeout time.Duration
	// Acknowledgement says which answers mean that the receiver has it.
	Acknowledgement Acknowledgement
	// Clock gives the timestamp that is signed, and measures the attempt.
	Clock Clock
}

// Outcome is what came of an attempt.
type Outcome struct {
	// StatusCode is the receiver's, 0 if there was no answer.
	StatusCode int
	// Answer is the beginning of the answer's body, at most [KeptAnswer]
	// bytes. It comes from a stranger and may be anything.
	Answer []byte
	// Err says how the attempt failed, [None] if it did not.
	Err Class
	// RetryAfter is the wait that the receiver asked for with its failure, 0
	// if it asked for none, at most [MaxRetryAfter].
	RetryAfter time.Duration
	// Duration is that of the whole exchange.
	Duration time.Duration
	// Acknowledged is true if the receiver has the message.
	Acknowledged bool
	// Gone is true if the receiver answered 410: it wants nothing any more.
	Gone bool
	// SlowDown is true if the receiver answered 429, 502, 503 or 504.
	SlowDown bool
}

// Attempt sends r once by client, of which only the transport counts, and reads the answer. It always returns by
// the end of r.Timeout, whatever the receiver does; if ctx is cancelled it
// returns [Canceled]. A connection whose answer was small is left for the next request.
func Attempt(ctx context.Context, client *http.Client, r Request) Outcome {
	start := r.Clock.Now()
	outcome := exchange(ctx, client, &r, start)
	outcome.Duration = r.Clock.Now().Sub(start)
	return outcome
}

func exchange(caller context.Context, client *http.Client, r *Request, now time.Time) Outcome {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(caller, timeout)
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Outcome{Err: BadRequest}
	}
	if !setHeaders(request, r, now) {
		return Outcome{Err: BadRequest}
	}
	response, err := transport(client).RoundTrip(request)
	if err != nil {
		return Outcome{Err: classify(caller, err)}
	}

	buffer := answers.Get().(*[]byte)
	answer, readErr := readAnswer(response.Body, (*buffer)[:0])
	if readErr != nil {
		// Without this, closing the body could wait for more of it.
		cancel()
	}
	_ = response.Body.Close() // all that matters of the answer has been read
	outcome := judge(caller, response, answer, readErr, r.Acknowledgement, now)
	if cap(answer) == smallAnswer {
		*buffer = answer
		answers.Put(buffer)
	}
	return outcome
}

// transport is what makes the exchanges of client. What the client does besides, for redirects and cookies, is of no use here, and
// costs a copy of the header.
func transport(client *http.Client) http.RoundTripper {
	if client.Transport == nil {
		return http.DefaultTransport
	}
	return client.Transport
}

// judge turns an answer into an outcome.
func judge(caller context.Context, response *http.Response, answer []byte, readErr error, want Acknowledgement, now time.Time) Outcome {
	outcome := Outcome{
		StatusCode: response.StatusCode,
		Answer:     bytes.Clone(answer[:min(len(answer), KeptAnswer)]),
	}
	switch {
	case want == Any2xx && response.StatusCode >= 200 && response.StatusCode <= 299:
		// The status is the whole acknowledgement; how the body ends is not.
		outcome.Acknowledged = true
	case want == StatusOK && response.StatusCode == http.StatusOK:
		switch {
		case errors.Is(readErr, errTooLong):
			outcome.Err = NotAcknowledged
		case readErr != nil:
			outcome.Err = classify(caller, readErr)
		case !acknowledges(answer):
			outcome.Err = NotAcknowledged
		default:
			outcome.Acknowledged = true
		}
	default:
		outcome.Err = Status
	}
	if !outcome.Acknowledged {
		outcome.RetryAfter = ParseRetryAfter(response.Header.Get("Retry-After"), now)
	}
	switch response.StatusCode {
	case http.StatusGone:
		outcome.Gone = true
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		outcome.SlowDown = true
	}
	return outcome
}

var contentTypeJSON = []string{"application/json"}

// setHeaders reports false if a header cannot be sent.
func setHeaders(request *http.Request, r *Request, now time.Time) bool {
	if !sendable(r.ID) || !sendable(r.UserAgent) || !sendable(r.Traceparent) {
		return false
	}
	for name, values := range r.Headers {
		for _, value := range values {
			if !sendable(value) {
				return false
			}
		}
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	// One array holds the values of all headers, instead of one for each.
	values := make([]string, 0, 5)
	set := func(name, value string) {
		values = append(values, value)
		request.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	timestamp := formatTimestamp(now)
	request.Header["Content-Type"] = contentTypeJSON
	set("User-Agent", r.UserAgent)
	set(HeaderID, r.ID)
	set(HeaderTimestamp, timestamp)
	if signature := sign(r.ID, timestamp, r.Body, r.Secrets); signature != "" {
		set(HeaderSignature, signature)
	}
	if r.Traceparent != "" {
		request.Header[HeaderTraceparent] = []string{r.Traceparent}
	}
	if r.Sequence > 0 {
		set(HeaderSequence, strconv.FormatUint(r.Sequence, 10))
	}
	return true
}

// sendable reports whether value can stand in a header: no control character
// but the tab (RFC 9110, section 5.5).
func sendable(value string) bool {
	for i := range len(value) {
		if c := value[i]; (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}

// answers keeps buffers for answers, nearly all of which are a few bytes.
var answers = sync.Pool{New: func() any {
	buffer := make([]byte, 0, smallAnswer)
	return &buffer
}}

var errTooLong = errors.New("the answer is longer than is read")

// readAnswer appends body to dst to its end, so that the connection can be
// used again, but at most MaxAnswer bytes; then it returns errTooLong.
func readAnswer(body io.Reader, dst []byte) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), min(2*cap(dst), MaxAnswer+1))
			copy(grown, dst)
			dst = grown
		}
		n, err := body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > MaxAnswer {
			return dst[:MaxAnswer], errTooLong
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
