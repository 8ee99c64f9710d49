package conversation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/searchtext"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// The limits of metadata.
const (
	// maxNames is how many names there may be.
	maxNames = 100
	// maxName is how many characters a name may have.
	maxName = 64
	// maxMetadata is how large it may be in all, in bytes of JSON without white space.
	maxMetadata = 64 << 10
)

// Create makes a conversation and gives its id. The key makes a repetition known; nil is none. Errors: AGENT_NOT_FOUND, REQUEST_INVALID,
// IDEMPOTENCY_KEY_REUSED.
func (c *Conversations) Create(
	ctx context.Context, instance string, r *agentv1.CreateConversationRequest, key *idempotency.Key,
) (string, error) {
	invalid := checkMetadata(r.GetMeta())
	if strings.IndexByte(r.GetIdentifier(), 0) >= 0 {
		invalid = append(invalid, rpcerr.Violation{Field: "identifier", Reason: "must not contain NUL"})
	}
	if len(invalid) > 0 {
		return "", rpcerr.Invalid(invalid...)
	}
	noAgent := rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent", "id", r.GetBotId())
	if !plausible(r.GetBotId()) {
		return "", noAgent
	}
	id := c.IDs.New()
	made := store.NewChat{
		Instance: instance, ID: id, AgentID: r.GetBotId(), Identifier: r.GetIdentifier(), CreateTime: c.Clock.Now().Truncate(time.Microsecond),
	}
	if made.Identifier == "" {
		made.Identifier = id
	}
	made.Head = searchtext.Head(id, made.Identifier)
	if len(r.GetMeta().GetFields()) > 0 {
		var err error
		if made.Metadata, err = encodeMetadata(r.GetMeta()); err != nil {
			return "", rpcerr.Internal(err)
		}
		made.MetadataWords = searchtext.Metadata(r.GetMeta())
	}
	var answer []byte
	err := c.Store.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		answer, _, err = idempotency.Run(ctx, tx, c.Clock, key, func() ([]byte, error) {
			return []byte(id), c.Store.CreateChat(ctx, tx, made)
		})
		return err
	})
	switch {
	case isNotFound(err):
		return "", noAgent
	case err != nil:
		return "", rpcerr.FromStore(err)
	}
	return string(answer), nil
}

// Update adds pairs to the metadata of a conversation. Errors: CONVERSATION_NOT_FOUND, REQUEST_INVALID.
func (c *Conversations) Update(ctx context.Context, instance, id string, pairs *structpb.Struct) error {
	if !plausible(id) {
		return notFound(id)
	}
	// What no metadata may have is found out without the store; the whole is known only there.
	if invalid := checkMetadata(pairs); len(invalid) > 0 {
		if _, err := c.Store.ListedConversation(ctx, instance, id); err != nil {
			return fail(err, id)
		}
		return rpcerr.Invalid(invalid...)
	}
	err := c.Store.ChangeMetadata(ctx, instance, id, c.Clock.Now(), func(old []byte) ([]byte, string, error) {
		merged, err := decodeMetadata(old)
		if err != nil {
			return nil, "", err
		}
		for name, value := range pairs.GetFields() {
			merged.Fields[name] = value
		}
		if invalid := checkMetadata(merged); len(invalid) > 0 {
			return nil, "", rpcerr.Invalid(invalid...)
		}
		metadata, err := encodeMetadata(merged)
		return metadata, searchtext.Metadata(merged), err
	})
	return fail(err, id)
}

// checkMetadata says what is wrong with metadata.
func checkMetadata(m *structpb.Struct) []rpcerr.Violation {
	var invalid []rpcerr.Violation
	if len(m.GetFields()) > maxNames {
		invalid = append(invalid, rpcerr.Violation{Field: "meta", Reason: fmt.Sprintf("must have at most %d names", maxNames)})
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetFields())) {
		if n := utf8.RuneCountInString(name); (n < 1 || n > maxName) && len(invalid) < maxNames {
			shown := []rune(name)
			invalid = append(invalid, rpcerr.Violation{
				Field: "meta." + string(shown[:min(len(shown), maxName)]), Reason: fmt.Sprintf("must have a name of 1 to %d characters", maxName),
			})
		}
	}
	if len(invalid) == 0 && len(messagejson.AppendStruct(nil, m)) > maxMetadata {
		invalid = append(invalid, rpcerr.Violation{Field: "meta", Reason: "must be at most 64 KiB"})
	}
	return invalid
}

func encodeMetadata(m *structpb.Struct) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{}, m)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	return raw, nil
}

func decodeMetadata(raw []byte) (*structpb.Struct, error) {
	m := &structpb.Struct{}
	if err := proto.Unmarshal(raw, m); err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("decode metadata: %w", err))
	}
	if m.Fields == nil {
		m.Fields = map[string]*structpb.Value{}
	}
	return m, nil
}
