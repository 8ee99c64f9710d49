package grpcclient

import (
	"encoding/json"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The policy of repeating calls (gRFC A6). Only a call that may be carried out twice, as its `idempotency_level` says, is made
// again, and only one that nobody answered: the connection broke, or there was none. A role's own UNAVAILABLE comes with its
// headers, which ends the matter here; its RetryInfo goes to the caller, who is told when to come back.
const (
	// attempts is how often a call is made at most, the first time included.
	attempts = 3
	// retryFirst and retryMost bound the wait between two attempts, of which grpc takes 80 to 120 % by chance. A call's deadline is
	// for all of them together.
	retryFirst = "0.02s"
	retryMost  = "0.2s"
	retryGrow  = 4
	// budget is how many tokens a connection has for each server name: a failed call takes one, a good one gives back budgetGrow, and
	// with less than half of them nothing is repeated. So a role that is down gets as many calls as are made, and no more.
	budget     = 100
	budgetGrow = 0.1
)

// ownPackages begins the names of the packages whose calls these are.
const ownPackages = "prosa."

// serviceConfig balances over all addresses of the target, and over those only that say that they are serving, and repeats what may be
// repeated. It is made once, of the contracts that are linked in. (What never left this process, grpc repeats by itself, whatever it is.)
var serviceConfig = sync.OnceValue(func() string {
	text, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []any{map[string]any{"round_robin": map[string]any{}}},
		"healthCheckConfig":   map[string]any{"serviceName": ""},
		"methodConfig": []any{map[string]any{
			"name": repeatable(),
			"retryPolicy": map[string]any{
				"maxAttempts": attempts, "initialBackoff": retryFirst, "maxBackoff": retryMost, "backoffMultiplier": retryGrow,
				"retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}},
		"retryThrottling": map[string]any{"maxTokens": budget, "tokenRatio": budgetGrow},
	})
	if err != nil {
		panic("write service config: " + err.Error()) // strings and numbers always can be written
	}
	return string(text)
})

// method names one RPC in a service config.
type method struct {
	Service string `json:"service"`
	Method  string `json:"method"`
}

// repeatable are the RPCs that may be carried out twice.
func repeatable() []method {
	var found []method
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), ownPackages) {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				if m := methods.Get(j); mayRepeat(m) {
					found = append(found, method{Service: string(m.Parent().FullName()), Method: string(m.Name())})
				}
			}
		}
		return true
	})
	return found
}

// mayRepeat says that an RPC has no effect, or the same one however often it is carried out.
func mayRepeat(m protoreflect.MethodDescriptor) bool {
	options, _ := m.Options().(*descriptorpb.MethodOptions)
	switch options.GetIdempotencyLevel() {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS, descriptorpb.MethodOptions_IDEMPOTENT:
		return true
	}
	return false
}
