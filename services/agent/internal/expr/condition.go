package expr

import (
	"context"

	"cel.dev/cel-go/common/types"
)

// Condition is an expression that holds or does not. The zero value always holds. It is safe for concurrent use.
type Condition struct{ program *program }

// Condition compiles a condition; an empty one always holds. The error is Errors.
func (c *Compiler) Condition(source string) (Condition, error) {
	if source == "" {
		return Condition{}, nil
	}
	compiled, errs := c.expression(source)
	if len(errs) > 0 {
		return Condition{}, errs
	}
	if !compiled.boolean {
		return Condition{}, Errors{{Position: 1, Reason: "a condition must be true or false"}}
	}
	return Condition{program: compiled}, nil
}

// Holds reports whether the condition holds. One that fails, or gives anything but a truth value, does not hold.
func (c *Condition) Holds(ctx context.Context, scope *Scope) bool {
	if c.program == nil {
		return true
	}
	value, err := scope.evaluate(ctx, c.program)
	return err == nil && value == types.True
}
