package webhook

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Acknowledgement says which answers of a receiver mean that it has the
// message.
type Acknowledgement int

const (
	// StatusOK is the documented acknowledgement: status 200 and a JSON object
	// with "status":"ok". Further fields are fine.
	StatusOK Acknowledgement = iota
	// Any2xx is any status from 200 to 299, whatever the body.
	Any2xx
)

// byteOrderMark precedes the JSON of some receivers; RFC 8259, section 8.1, lets a
// reader ignore it.
var byteOrderMark = []byte("\ufeff")

// acknowledges reports whether body is one JSON object in which "status" is
// "ok". A name that stands twice with another value says both and so neither.
func acknowledges(body []byte) bool {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark))
	if string(body) == `{"status":"ok"}` {
		return true
	}
	if len(body) == 0 || body[0] != '{' {
		return false
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := decoder.ReadToken(); err != nil {
		return false
	}
	acknowledged := false
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return false
		}
		if name.String() != "status" {
			if err := decoder.SkipValue(); err != nil {
				return false
			}
			continue
		}
		if decoder.PeekKind() != '"' {
			return false
		}
		value, err := decoder.ReadToken()
		if err != nil || value.String() != "ok" {
			return false
		}
		acknowledged = true
	}
	if _, err := decoder.ReadToken(); err != nil {
		return false
	}
	_, err := decoder.ReadToken()
	return acknowledged && errors.Is(err, io.EOF)
}
