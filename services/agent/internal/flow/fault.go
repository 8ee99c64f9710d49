package flow

import "errors"

// ErrInterrupted says that what answers failed after a part of its answer was seen. There is no answer then, for half of one must never
// look whole. A Fault in the error says what happened.
var ErrInterrupted = errors.New("answer interrupted")

// Fault says why a model or a remote program gave no answer that counts.
type Fault struct {
	// Reason is one of a few words, in lower case, joined by "_". It holds nothing of what was said.
	Reason string
}

// Error is the reason.
func (f *Fault) Error() string { return f.Reason }

// faultOf is the reason of an error.
func faultOf(err error) string {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Reason
	}
	return "failed"
}
