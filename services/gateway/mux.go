package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

// newMux registers every service on a grpc-gateway mux that forwards nothing but what header.go lists.
func (g *Gateway) newMux(deps Deps) (*runtime.ServeMux, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, writer{}),
		runtime.WithIncomingHeaderMatcher(matchForwarded),
		runtime.WithOutgoingHeaderMatcher(matchReturned),
		runtime.WithOutgoingTrailerMatcher(matchNone),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		// An encoded slash is part of a name, not the end of a segment.
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptSlash),
		runtime.WithWriteContentLength(),
		runtime.WithErrorHandler(g.handleError),
		runtime.WithRoutingErrorHandler(g.handleRoutingError),
		runtime.WithForwardResponseOption(forwardResponse),
		runtime.WithForwardResponseRewriter(rewriteResponse),
	)
	ctx := context.Background() //nolint:forbidigo // of the registrations, which nobody called and which wait for nothing
	imports := make(chan struct{}, maxImports)
	through := func(next grpc.ClientConnInterface) *conn {
		return &conn{next: next, bindings: g.bindings, imports: imports}
	}
	// The mux tries the newest registration first: the busiest route comes last.
	err := errors.Join(
		accountsv1.RegisterAccountsServiceHandlerClient(ctx, mux, accountsv1.NewAccountsServiceClient(through(deps.Accounts))),
		accountsv1.RegisterUsageServiceHandlerClient(ctx, mux, accountsv1.NewUsageServiceClient(through(deps.Accounts))),
		agentv1.RegisterAgentServiceHandlerClient(ctx, mux, agentv1.NewAgentServiceClient(through(deps.Agent))),
		agentv1.RegisterSecretServiceHandlerClient(ctx, mux, agentv1.NewSecretServiceClient(through(deps.Agent))),
		agentv1.RegisterHandoffServiceHandlerClient(ctx, mux, agentv1.NewHandoffServiceClient(through(deps.Agent))),
		channelv1.RegisterReplyServiceHandlerClient(ctx, mux, channelv1.NewReplyServiceClient(through(deps.Channel))),
		agentv1.RegisterConversationServiceHandlerClient(ctx, mux, agentv1.NewConversationServiceClient(through(deps.Agent))),
		agentv1.RegisterChatServiceHandlerClient(ctx, mux, agentv1.NewChatServiceClient(through(deps.Agent))),
		channelv1.RegisterChannelServiceHandlerClient(ctx, mux, channelv1.NewChannelServiceClient(through(deps.Channel))),
		channelv1.RegisterBotApiServiceHandlerClient(ctx, mux, channelv1.NewBotApiServiceClient(through(deps.Channel))),
		channelv1.RegisterPersonServiceHandlerClient(ctx, mux, channelv1.NewPersonServiceClient(through(deps.Channel))),
		channelv1.RegisterDeliveryServiceHandlerClient(ctx, mux, channelv1.NewDeliveryServiceClient(through(deps.Channel))),
		contactsv1.RegisterAttendanceServiceHandlerClient(ctx, mux, contactsv1.NewAttendanceServiceClient(through(deps.Contacts))),
		contactsv1.RegisterContactsServiceHandlerClient(ctx, mux, contactsv1.NewContactsServiceClient(through(deps.Contacts))),
		channelv1.RegisterBotApiInboundServiceHandlerClient(ctx, mux, channelv1.NewBotApiInboundServiceClient(through(deps.Channel))),
		channelv1.RegisterInboundServiceHandlerClient(ctx, mux, channelv1.NewInboundServiceClient(through(deps.Channel))),
	)
	if err != nil {
		return nil, fmt.Errorf("register services: %w", err)
	}
	return mux, nil
}

// handleError answers what a call failed with.
func (g *Gateway) handleError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		for key, values := range metadata.Join(md.HeaderMD, md.TrailerMD) {
			if name, ok := matchReturned(key); ok {
				w.Header()[name] = values
			}
		}
	}
	c := callFrom(ctx)
	g.refuse(ctx, c, refusalOf(err, c))
}

// handleRoutingError answers a request that has no route.
func (g *Gateway) handleRoutingError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, _ http.ResponseWriter, _ *http.Request, status int) {
	c := callFrom(ctx)
	allow := g.bindings.allowed(c.path)
	if status == http.StatusMethodNotAllowed && allow != "" {
		g.refuse(ctx, c, &refusal{status: status, allow: allow})
		return
	}
	g.refuse(ctx, c, refuse(http.StatusNotFound))
}

// writer is the mux's marshaler: it writes answers, and reads nothing (see conn).
type writer struct{}

// written is an answer that rewriteResponse already put into JSON.
type written []byte

// Marshal writes what rewriteResponse, or the response_body of a method, left.
func (writer) Marshal(v any) ([]byte, error) {
	if done, ok := v.(written); ok {
		return done, nil
	}
	return marshalManagement(v)
}

// ContentType is that of every answer that is no failure.
func (writer) ContentType(any) string { return jsonType }

// NewDecoder reads nothing: the body is not the mux's.
func (writer) NewDecoder(io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(any) error { return io.EOF })
}

// Unmarshal reads nothing, as NewDecoder.
func (writer) Unmarshal([]byte, any) error { return io.EOF }

// NewEncoder writes as Marshal does.
func (w writer) NewEncoder(to io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := w.Marshal(v)
		if err != nil {
			return err
		}
		_, err = to.Write(b)
		return err
	})
}
