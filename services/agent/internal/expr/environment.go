// Package expr evaluates the CEL expressions of an agent definition: conditions, and templates that carry expressions between {{ and
// }}. Everything is compiled once and evaluated with a cost limit; an expression that fails when it is evaluated gives nothing, so
// that a person never sees an error text.
package expr

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

const (
	// MaxExpression is the greatest length of one expression, in characters.
	MaxExpression = 4096
	// MaxCost is what one evaluation may cost, in CEL's units: about one for a look-up, and one for each ten characters that are
	// read or copied.
	MaxCost = 100_000
	// MaxScopeCost is what all evaluations with one scope may cost together, which bounds a turn.
	MaxScopeCost = 1_000_000

	maxDepth        = 50     // of nesting, in an expression
	maxNodes        = 10_000 // of an expression's syntax tree, macros expanded
	maxRegexProgram = 10_000 // instructions of a regular expression, constant or not
	// charactersPerCost is how many characters are read or copied for one unit of cost, as in CEL's own figures.
	charactersPerCost = 10

	interruptEvery = 100 // iterations of a comprehension between two looks at the context
)

// The names that expressions see.
const (
	varContact  = "contact"
	varContext  = "context"
	varInput    = "input"
	varIntent   = "intent"
	varNow      = "now"
	varInstance = "instance"
	varAgent    = "agent"
)

// environment is the one CEL environment. It is built on first use because it costs some milliseconds that a process which runs no
// flow need not pay.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	builtin, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make type registry: %w", err)
	}
	anything := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.CustomTypeAdapter(builtin),
		cel.CustomTypeProvider(provider{builtin}),
		cel.Variable(varContact, anything),
		cel.Variable(varContext, anything),
		cel.Variable(varInput, inputType.cel),
		cel.Variable(varIntent, intentType.cel),
		cel.Variable(varNow, cel.TimestampType),
		cel.Variable(varInstance, instanceType.cel),
		cel.Variable(varAgent, agentType.cel),
		cel.CrossTypeNumericComparisons(true),
		// `now.getHours()` is the hour on the clock of the instance, which is what a greeting needs.
		cel.DefaultUTCTimeZone(false),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
	)
})
