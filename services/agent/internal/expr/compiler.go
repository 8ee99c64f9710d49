package expr

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// Error says what is wrong with a template or a condition, and where.
type Error struct {
	// Position is the place in the text that was compiled, in characters from 1.
	Position int
	// Reason is what is wrong there.
	Reason string
}

// Error implements error.
func (e Error) Error() string { return fmt.Sprintf("at character %d: %s", e.Position, e.Reason) }

// Errors are all faults of one template or condition, in the order of their positions. It is never empty when it is returned.
type Errors []Error

// Error implements error.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "; ")
}

// Compiler compiles the expressions of one definition. Equal expressions are compiled once. It is not safe for concurrent use; what
// it makes is.
type Compiler struct {
	env      *cel.Env
	compiled map[string]outcome
}

// outcome is the result of compiling one expression.
type outcome struct {
	program *program
	errors  Errors
}

// program is a compiled expression.
type program struct {
	cel cel.Program
	// loops says that the expression has a comprehension. Only these run long enough to be worth looking at the context, which
	// costs more than most expressions do.
	loops bool
	// boolean says that the expression can give a truth value.
	boolean bool
}

// NewCompiler returns a compiler. The error is a fault of this program, never of a definition.
func NewCompiler() (*Compiler, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("build expression environment: %w", err)
	}
	return &Compiler{env: env, compiled: make(map[string]outcome)}, nil
}

// expression compiles source; positions in the errors are relative to source.
func (c *Compiler) expression(source string) (*program, Errors) {
	if done, ok := c.compiled[source]; ok {
		return done.program, done.errors
	}
	compiled, errs := c.compile(source)
	c.compiled[source] = outcome{program: compiled, errors: errs}
	return compiled, errs
}

func (c *Compiler) compile(source string) (*program, Errors) {
	if strings.TrimSpace(source) == "" {
		return nil, Errors{{Position: 1, Reason: "the expression is empty"}}
	}
	// The parser has this limit too, but reports it without a position and in its own words.
	if utf8.RuneCountInString(source) > MaxExpression {
		return nil, Errors{{Position: 1, Reason: fmt.Sprintf("the expression is longer than %d characters", MaxExpression)}}
	}
	checked, issues := c.env.Compile(source)
	if issues != nil && len(issues.Errors()) > 0 {
		return nil, issueErrors(source, issues)
	}
	celProgram, err := c.env.Program(checked,
		cel.EvalOptions(cel.OptOptimize),
		cel.CostLimit(MaxCost),
		cel.InterruptCheckFrequency(interruptEvery),
	)
	if err != nil {
		return nil, Errors{{Position: 1, Reason: err.Error()}}
	}
	output := checked.OutputType()
	return &program{
		cel:     celProgram,
		loops:   hasComprehension(checked.NativeRep()),
		boolean: output.IsExactType(cel.BoolType) || output.IsExactType(cel.DynType),
	}, nil
}

func issueErrors(source string, issues *cel.Issues) Errors {
	var errs Errors
	for _, issue := range issues.Errors() {
		reason := strings.ReplaceAll(issue.Message, " (in container '')", "")
		if reason == "undeclared reference to 'secret'" {
			reason = "a secret can only stand alone, as {{ secret.name }}, in a header of a call"
		}
		// The parser repeats one mistake in several ways at one place; the first says most.
		at := position(source, issue.Location.Line(), issue.Location.Column())
		if !slices.ContainsFunc(errs, func(e Error) bool { return e.Position == at }) {
			errs = append(errs, Error{Position: at, Reason: reason})
		}
	}
	slices.SortStableFunc(errs, func(a, b Error) int { return a.Position - b.Position })
	return errs
}

// position turns a place as CEL gives it, line from 1 and column from 0 in characters, into a position from 1. A place that CEL does
// not know is the beginning.
func position(source string, line, column int) int {
	if line < 1 || column < 0 {
		return 1
	}
	at := 0
	for range line - 1 {
		_, rest, found := strings.Cut(source, "\n")
		if !found {
			return 1
		}
		at += utf8.RuneCountInString(source) - utf8.RuneCountInString(rest)
		source = rest
	}
	return at + column + 1
}

func hasComprehension(checked *ast.AST) bool {
	found := false
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.ComprehensionKind
	}))
	return found
}
