package call

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// maxDepth is how deep the JSON of an answer may be.
const maxDepth = 32

// read reads an answer. Of one that is no success only the status matters.
func read(ctx context.Context, response *http.Response) flow.CallAnswer {
	answer := flow.CallAnswer{Outcome: flow.CallOK, Status: response.StatusCode}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		answer.Outcome = flow.CallStatus
		return answer
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	switch {
	case err != nil:
		answer.Outcome = classify(ctx, err)
	case len(text) > MaxAnswer:
		answer.Outcome = flow.CallTooLarge
	default:
		answer.Value, err = value(response.Header, text)
		if err != nil {
			answer.Outcome = flow.CallMalformed
		}
	}
	return answer
}

var errEncoded = errors.New("the answer is compressed, which was not asked for")

// value is what an answer says: JSON by its type, else text; nil if it is empty.
func value(header http.Header, text []byte) (*structpb.Value, error) {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoded
	}
	if len(text) == 0 {
		return nil, nil
	}
	if !isJSON(header.Get("Content-Type")) {
		return structpb.NewStringValue(strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "")), nil
	}
	v := &structpb.Value{}
	return v, protojson.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(text, v)
}

// isJSON reports whether a media type is one of JSON (RFC 6839, section 3.1).
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}
