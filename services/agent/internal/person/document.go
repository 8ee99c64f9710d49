package person

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// described is a conversation as its person gets it.
func described(c *store.DescribedConversation) (*agentv1.PersonConversation, error) {
	message := &agentv1.PersonConversation{
		Id: c.ID, AgentId: c.AgentID, AgentVersion: c.AgentVersion, EndpointId: c.EndpointID, Source: c.Source, AttendanceId: c.AttendanceID,
		ContactId: c.ContactID, State: c.State, CreateTime: optional(c.CreateTime), UpdateTime: optional(c.UpdateTime),
		FinishTime: optional(c.FinishTime), FlowState: &agentv1.FlowState{},
	}
	if err := proto.Unmarshal(c.FlowState, message.FlowState); err != nil {
		return nil, fmt.Errorf("decode flow state: %w", err)
	}
	for _, t := range c.Turns {
		turn := &agentv1.PersonTurn{
			Id: t.ID, Number: t.Number, CreateTime: optional(t.CreateTime), Record: &contactsv1.TurnRecord{}, Answer: &agentv1.RunTurnResponse{},
		}
		if err := proto.Unmarshal(t.Record, turn.Record); err != nil {
			return nil, fmt.Errorf("decode record of turn: %w", err)
		}
		if err := proto.Unmarshal(t.Answer, turn.Answer); err != nil {
			return nil, fmt.Errorf("decode answer of turn: %w", err)
		}
		message.Turns = append(message.Turns, turn)
	}
	for _, row := range c.Records {
		record, err := structOf(row)
		if err != nil {
			return nil, err
		}
		message.Records = append(message.Records, record)
	}
	return message, nil
}

// structOf is a row as JSON, under the names that fields have there. Times are RFC 3339. Bytes are a text where they are one, the object
// that they hold where the column is one of metadata, and base64 otherwise.
func structOf(row map[string]any) (*structpb.Struct, error) {
	made := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(row))}
	for column, value := range row {
		switch v := value.(type) {
		case int64:
			if strings.HasSuffix(column, "_time") {
				value = sqldb.Time(v).Format(time.RFC3339Nano)
			}
		case []byte:
			metadata := &structpb.Struct{}
			switch {
			case column == "metadata" && proto.Unmarshal(v, metadata) == nil:
				value = metadata.AsMap()
			case utf8.Valid(v):
				value = string(v)
			default:
				value = base64.StdEncoding.EncodeToString(v)
			}
		}
		field, err := structpb.NewValue(value)
		if err != nil {
			return nil, fmt.Errorf("describe column %s: %w", column, err)
		}
		made.Fields[fieldName(column)] = field
	}
	return made, nil
}

// fieldName is the name of a column in JSON: agent_id is agentId.
func fieldName(column string) string {
	words := strings.Split(column, "_")
	for i, word := range words[1:] {
		words[i+1] = strings.ToUpper(word[:1]) + word[1:]
	}
	return strings.Join(words, "")
}
