package contacts

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// Who said something, as the contract writes it.
const (
	senderUser  = "user"
	senderBot   = "bot"
	senderHuman = "human"
)

// spoken is how many messages the person sent in the turn.
func spoken(record *contactsv1.TurnRecord) int64 {
	if record.GetUserText() != "" || record.GetUserPostback() != "" {
		return 1
	}
	return 0
}

// historyItems is what was said in a turn: the person, then who answered, in one item for as long as the sender stays the same.
func historyItems(record *contactsv1.TurnRecord) []*contactsv1.HistoryItem {
	var items []*contactsv1.HistoryItem
	if spoken(record) > 0 {
		at := milliseconds(record.GetUserTime())
		item := &contactsv1.HistoryItem{Time: at, Sender: senderUser, Postback: record.GetUserPostback()}
		if record.GetUserText() != "" {
			item.Messages = []*messagev1.Message{{
				CreateTime: at,
				Content:    &messagev1.Message_Text{Text: &messagev1.Text{Text: record.GetUserText()}},
			}}
		}
		items = append(items, item)
	}
	at := milliseconds(record.GetAnswerTime())
	var last *contactsv1.HistoryItem
	for _, message := range record.GetAnswer() {
		sender := senderBot
		if record.GetAnsweredByHuman() || message.GetOrigin() == messagev1.Origin_ORIGIN_HUMAN {
			sender = senderHuman
		}
		if last == nil || last.GetSender() != sender {
			last = &contactsv1.HistoryItem{Time: at, Sender: sender}
			items = append(items, last)
		}
		last.Messages = append(last.Messages, message)
	}
	return items
}

// encodeItems writes items as the store keeps them. Encodings of several turns put together are the encoding of all of them, as
// protobuf's repeated fields are. The result is never nil.
func encodeItems(items []*contactsv1.HistoryItem) ([]byte, error) {
	encoded, err := proto.Marshal(&contactsv1.Attendance{History: items})
	if err != nil {
		return nil, fmt.Errorf("encode history: %w", err)
	}
	if encoded == nil {
		encoded = []byte{}
	}
	return encoded, nil
}

// decodeItems adds the items of turns to an attendance.
func decodeItems(turns [][]byte, into *contactsv1.Attendance) error {
	for _, encoded := range turns {
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(encoded, into); err != nil {
			return fmt.Errorf("decode history: %w", err)
		}
	}
	return nil
}

func milliseconds(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	return timestamppb.New(t.AsTime().Truncate(time.Millisecond))
}
