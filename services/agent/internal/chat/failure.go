package chat

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// failures are what a message can have in place of a turn, by the reasons under which they are stored.
var failures = byReason(
	define(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent"),
	define(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_FINISHED, "the conversation has ended"),
	define(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_PERSON_ERASED, "the person was erased"),
	define(codes.Unavailable, agentv1.ErrorReason_ERROR_REASON_ANSWER_INTERRUPTED, "the answer broke off"),
	define(codes.Internal, accountsv1.ErrorReason_ERROR_REASON_INTERNAL, "something unexpected happened"),
)

func define(code codes.Code, reason protoreflect.Enum, message string) *rpcerr.Error {
	return rpcerr.New(code, reason, message)
}

func byReason(all ...*rpcerr.Error) map[string]*rpcerr.Error {
	byName := make(map[string]*rpcerr.Error, len(all))
	for _, e := range all {
		byName[e.Reason()] = e
	}
	return byName
}

// failure is the error of a stored reason.
func failure(reason string) error {
	if known, ok := failures[reason]; ok {
		return known
	}
	return rpcerr.Internal(errors.New("chat message failed: " + reason))
}

// reasonOf is what is stored of an error that ends a message for good.
func reasonOf(err error) string {
	if reason := rpcerr.Reason(err); failures[reason] != nil {
		return reason
	}
	return "INTERNAL"
}

// isTransient says that the same turn may succeed when it is tried again.
func isTransient(err error) bool {
	switch rpcerr.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.ResourceExhausted:
		return true
	}
	return false
}

func conversationNotFound(id string) error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_NOT_FOUND, "no such conversation", "id", id)
}

func messageNotFound(id string) error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_MESSAGE_NOT_FOUND, "no such message", "id", id)
}

func conversationFinished(id string) error {
	return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_FINISHED, "the conversation has ended", "id", id)
}

func diverged(id string) error {
	return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_STREAM_DIVERGED,
		"the answer was made anew and begins otherwise", "id", id)
}

// errStopping is what readers get whose turn the next start of the process takes up.
var errStopping = rpcerr.Unavailable(errors.New("the process is stopping"))
