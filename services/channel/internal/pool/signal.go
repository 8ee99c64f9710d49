package pool

// Signal wakes one waiter. Signals that nobody has received yet are one. The
// zero value is not usable; see NewSignal.
type Signal chan struct{}

// NewSignal returns a signal.
func NewSignal() Signal { return make(Signal, 1) }

// Notify wakes the waiter now, or as soon as it waits.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}
