package agent

import (
	"strings"

	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/record"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/replica"
)

// What the processes that share the store tell each other, besides what package chat does; see package replica.
const (
	topicRecords = "records" // there is a turn to record, for the process that records
	topicAgent   = "agent"   // an agent was changed; the subject is its instance and id

	// someRecord is the subject of topicRecords; without one, the process that records may have died.
	someRecord = "turn"
)

// listen has what others tell heard.
func listen(fellows *replica.Replica, recorder *record.Recorder, runner *turn.Runner, chats *chat.Service) {
	fellows.On(topicRecords, func(subject string) {
		if subject == "" {
			recorder.Freed()
			return
		}
		recorder.WakeHere()
	})
	fellows.On(topicAgent, func(subject string) {
		if instance, id, named := strings.Cut(subject, "/"); named {
			runner.AgentChanged(instance, id)
			return
		}
		runner.AnyAgentChanged()
	})
	for _, topic := range []string{chat.TopicEnded, chat.TopicStop, chat.TopicOrphans} {
		fellows.On(topic, func(subject string) { chats.Heard(topic, subject) })
	}
}
