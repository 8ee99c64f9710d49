package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// buffers hold bodies while they are decoded; nothing of a body outlives that.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// keepBuffer puts a buffer back, unless a large body made it grow.
func keepBuffer(buffer *[]byte) {
	if cap(*buffer) <= 2*MaxBody {
		buffers.Put(buffer)
	}
}

// readBody reads the body of a request into buffer. The body must be JSON and have no more bytes than most, by its length or, when it
// comes in chunks, by what arrives.
func readBody(w http.ResponseWriter, r *http.Request, buffer *[]byte, most int64) ([]byte, *refusal) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	if !isJSON(r.Header) {
		return nil, refuse(http.StatusUnsupportedMediaType)
	}
	if r.ContentLength > most {
		return nil, tooLarge(most)
	}
	// MaxBytesReader also tells the server to close the connection instead of reading the rest.
	source := http.MaxBytesReader(w, r.Body, most)
	body := slices.Grow((*buffer)[:0], int(max(0, r.ContentLength))+1) // one more, to meet the end without growing
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		*buffer = body
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, unreadable(err, most)
		}
	}
}

func tooLarge(most int64) *refusal {
	made := refuse(http.StatusRequestEntityTooLarge)
	if most != MaxBody { // of which the surfaces speak
		made.detail = fmt.Sprintf("The body is larger than %d MiB", most>>20)
	}
	return made
}

func unreadable(err error, most int64) *refusal {
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return tooLarge(most)
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return refuse(http.StatusRequestTimeout)
	}
	return &refusal{status: http.StatusBadRequest, reason: reasonRequestInvalid, malformed: "did not arrive whole", cause: err}
}

// isJSON reports whether the body is said to be JSON in UTF-8, and not compressed.
func isJSON(header http.Header) bool {
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false
	}
	values := header["Content-Type"]
	if len(values) != 1 {
		return false
	}
	if values[0] == jsonType {
		return true
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != jsonType {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}
