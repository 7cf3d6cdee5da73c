package policy

import (
	"context"
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// ErrDenied is what every [*Denied] is.
var ErrDenied = errors.New("policy: denied")

// Denied is the answer of [Policy.Decide] when a rule did not allow. Its text is for the log; it never
// shows the value of a parameter or a header.
type Denied struct {
	// Rule is the first rule that did not allow; the rules after it were not asked.
	Rule Rule
	// Err is nil when the rule said false, else why it could not be evaluated.
	Err error
}

// Error names the rule, and what failed if something did.
func (d *Denied) Error() string {
	if d.Err == nil {
		return fmt.Sprintf("%v by %s", ErrDenied, d.Rule.Name)
	}
	return fmt.Sprintf("%v by %s: %v", ErrDenied, d.Rule.Name, d.Err)
}

// Is makes errors.Is(d, ErrDenied) true.
func (d *Denied) Is(target error) bool { return target == ErrDenied }

// Unwrap returns Err.
func (d *Denied) Unwrap() error { return d.Err }

// Policy is a list of compiled rules. It does not change; any number of goroutines may use it. The
// zero value has no rules and allows everything.
type Policy struct {
	rules []compiled
}

type compiled struct {
	rule    Rule
	program cel.Program
	loops   bool
}

// Decide asks the rules in order and returns nil if all are true, else a [*Denied] that names the
// first that is not. When ctx ends, so does the decision, with a Denied whose Err wraps the cause.
func (p *Policy) Decide(ctx context.Context, in *Input) error {
	if len(p.rules) == 0 {
		return nil
	}
	vars := &activation{in: in}
	for i := range p.rules {
		r := &p.rules[i]
		allowed, err := r.evaluate(ctx, vars)
		if err != nil {
			return &Denied{Rule: r.rule, Err: withoutValues(err, in)}
		}
		if !allowed {
			return &Denied{Rule: r.rule}
		}
	}
	return nil
}

// run evaluates the expression.
func (c *compiled) run(ctx context.Context, vars cel.Activation) (ref.Val, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// Without a loop nothing would look at the context, and handing it over takes a fifth of the time.
	var out ref.Val
	var err error
	if c.loops {
		out, _, err = c.program.ContextEval(ctx, vars)
	} else {
		out, _, err = c.program.Eval(vars)
	}
	return out, err //nolint:wrapcheck // the callers leave the values out of it
}

// evaluate runs an expression of type bool.
func (c *compiled) evaluate(ctx context.Context, vars cel.Activation) (bool, error) {
	out, err := c.run(ctx, vars)
	switch {
	case err != nil:
		return false, err
	case out == types.True:
		return true, nil
	case out == types.False:
		return false, nil
	}
	return false, fmt.Errorf("the result is of type %s, want bool", out.Type().TypeName())
}
