package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// streamTimeout is how long a streamed answer may be followed by one call.
	streamTimeout = 5 * time.Minute
	// blockTimeout is how long the caller may take to make room for a block.
	blockTimeout = 30 * time.Second
	// commentInterval is how long server-sent events may be silent, so that proxies do not take the connection for dead.
	commentInterval = 15 * time.Second
	// chatSlack is how much longer than the agent waits for a whole answer the gateway waits for the agent.
	chatSlack = 5 * time.Second
	// defaultChatTimeout is how long the agent waits for a whole answer when Config does not say.
	defaultChatTimeout = time.Minute
	// headerLastEventID is of the HTML standard, section 9.2.
	headerLastEventID = "Last-Event-Id"
	maxLastEventID    = 64 // characters

	eventsType = "text/event-stream"
	plainType  = "text/plain; charset=utf-8"
)

// chatCall is a call for a streamed answer. grpc-gateway writes what it streams in a form of its own, so these calls go past it, by the
// same rules.
type chatCall struct {
	method  string
	request proto.Message
	events  bool // server-sent events, not plain text
	open    func(ctx context.Context) (chatStream, error)
}

// chatStream is the answer of the agent service.
type chatStream interface {
	Header() (metadata.MD, error)
	Trailer() metadata.MD
	next() (*agentv1.ChatEvent, error)
}

type begunStream struct {
	grpc.ServerStreamingClient[agentv1.StreamChatResponse]
}

func (s begunStream) next() (*agentv1.ChatEvent, error) {
	response, err := s.Recv()
	return response.GetEvent(), err
}

type resumedStream struct {
	grpc.ServerStreamingClient[agentv1.ResumeChatResponse]
}

func (s resumedStream) next() (*agentv1.ChatEvent, error) {
	response, err := s.Recv()
	return response.GetEvent(), err
}

// chatCallOf is the call for a streamed answer that a request is; nil when it is none. The mux has the same routes, and answers
// other methods.
func (g *Gateway) chatCallOf(c *call) *chatCall {
	if c.surface != surfaceConversation {
		return nil
	}
	segments := strings.Split(strings.TrimPrefix(c.path, "/"), "/")
	if len(segments) < 3 || segments[1] != "stream" {
		return nil
	}
	names := make([]string, 0, 2)
	for _, segment := range segments[2:] {
		name, err := url.PathUnescape(segment)
		if err != nil {
			return nil
		}
		names = append(names, name)
	}
	switch {
	case len(names) == 1 && c.request.Method == http.MethodPost:
		request := &agentv1.StreamChatRequest{IdConversation: names[0]}
		return &chatCall{
			method: agentv1.ChatService_StreamChat_FullMethodName, request: request, events: acceptsEvents(c.request.Header),
			open: func(ctx context.Context) (chatStream, error) {
				stream, err := g.chats.StreamChat(ctx, request)
				return begunStream{stream}, err
			},
		}
	case len(names) == 2 && c.request.Method == http.MethodGet:
		request := &agentv1.ResumeChatRequest{IdConversation: names[0], Idmessage: names[1], LastEvent: c.request.Header.Get(headerLastEventID)}
		return &chatCall{
			method: agentv1.ChatService_ResumeChat_FullMethodName, request: request, events: true,
			open: func(ctx context.Context) (chatStream, error) {
				stream, err := g.chats.ResumeChat(ctx, request)
				return resumedStream{stream}, err
			},
		}
	}
	return nil
}

// chatTimeoutOf is how long a call of the conversation API may take, by its path.
func (g *Gateway) chatTimeoutOf(path string) time.Duration {
	switch {
	case strings.HasPrefix(path, "/conversation/stream/"):
		return streamTimeout
	case strings.HasPrefix(path, "/conversation/complete/"):
		return g.chatTimeout
	}
	return g.timeout
}

// acceptsEvents reports whether the caller names server-sent events among what it takes (RFC 9110, section 12.5.1).
func acceptsEvents(header http.Header) bool {
	for _, line := range header["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			mediaType, params, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil || mediaType != eventsType {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); params["q"] == "" || err == nil && q > 0 {
				return true
			}
		}
	}
	return false
}

// complete fills in the request, and refuses what every other call would be refused for.
func (s *chatCall) complete(c *call, b *binding) error {
	c.binding, c.message = b, s.request
	err := complete(c, b, s.request)
	id := c.request.Header[headerLastEventID]
	if err != nil || c.request.Method != http.MethodGet || len(id) == 0 {
		return err
	}
	if len(id) == 1 && len(id[0]) <= maxLastEventID && !unprintable(id[0]) {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, reason: reasonRequestInvalid, invalid: []rpcerr.Violation{
		{Field: "Last-Event-ID", Reason: "must be the id of an event, given once"},
	}}
}

// streamChat answers a call for a streamed answer. The request is the one that the mux would get.
func (g *Gateway) streamChat(c *call, s *chatCall, inner *http.Request) {
	ctx, cancel := context.WithCancel(inner.Context())
	defer cancel()
	if err := s.complete(c, g.bindings.byMethod[s.method]); err != nil {
		g.refuse(ctx, c, refusalOf(err, c))
		return
	}
	controller := http.NewResponseController(&c.writer)
	annotated, err := runtime.AnnotateContext(ctx, g.mux, inner, s.method)
	if err != nil {
		g.refuse(ctx, c, refusalOf(err, c))
		return
	}
	stream, err := s.open(annotated)
	if err != nil {
		g.refuse(ctx, c, refusalOf(err, c))
		return
	}
	first, err := stream.next()
	returnHeader(c.writer.Header(), stream)
	if errors.Is(err, io.EOF) || err == nil && first.GetBegun() == nil {
		err = rpcerr.Internal(errors.New("stream of chat did not begin"))
	}
	if err != nil {
		g.refuse(ctx, c, refusalOf(err, c))
		return
	}
	blocks := &blockWriter{gateway: g, call: c, controller: controller}
	if s.events {
		err = blocks.writeEvents(ctx, first, stream, cancel)
	} else {
		err = blocks.writePlain(first, stream)
	}
	if err != nil {
		g.cutChat(ctx, c, err)
	}
}

// returnHeader sets the header fields that the service returned.
func returnHeader(header http.Header, stream chatStream) {
	md, err := stream.Header()
	if err != nil {
		md = nil
	}
	for key, values := range metadata.Join(md, stream.Trailer()) {
		if name, ok := matchReturned(key); ok {
			header[name] = values
		}
	}
}

// errCallerGone says that the caller takes no more.
var errCallerGone = errors.New("the caller is gone")

// cutChat ends an answer that has begun and is not whole: the connection is cut, so that it does not look complete.
func (g *Gateway) cutChat(ctx context.Context, c *call, err error) {
	if errors.Is(err, errCallerGone) || c.request.Context().Err() != nil {
		c.writer.status = statusCallerGone
		panic(http.ErrAbortHandler)
	}
	if r := refusalOf(err, c); r.status >= http.StatusInternalServerError {
		g.logger.LogAttrs(ctx, levelOf(r.status), "request failed", append(c.attributes(r.status, r), slog.Bool("cut", true))...)
	}
	panic(http.ErrAbortHandler)
}
