package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// ErrDenied is matched by every [*Denied].
var ErrDenied = errors.New("policy: denied")

// Denied is returned by [Policy.Decide] when a rule did not allow. Its text is for the log; it never
// contains the value of a parameter or a header. The caller may learn the Message of the rule.
type Denied struct {
	// Rule is the first rule that did not allow; the rules after it were not evaluated.
	Rule Rule
	// Err is nil if the rule is false, else the reason why it could not be evaluated.
	Err error

	index int // of the rule in its policy
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

// Policy is a list of compiled rules. It is immutable and safe for concurrent use. The zero value has
// no rules and allows everything.
type Policy struct {
	rules []compiled
}

type compiled struct {
	rule    Rule
	program cel.Program
	loops   bool
	// names are the variables that the rule mentions, reads the paths that it reads.
	names map[string]bool
	reads []string
}

// Mentions reports whether a rule mentions a variable, such as "job". If none does, the decision does
// not depend on the variable.
func (p *Policy) Mentions(variable string) bool {
	return slices.ContainsFunc(p.rules, func(c compiled) bool { return c.names[variable] })
}

// Budget bounds the cost of several decisions together, as those of one request. It must not be used
// concurrently.
type Budget struct {
	// Left is the cost that is left; 100 000 takes about 5 ms. The last decision can exceed it.
	Left uint64
}

// ErrBudget is the Err of a [*Denied] when the budget is used up.
var ErrBudget = errors.New("policy: the budget for the rules of one request is used up")

// Decide evaluates the rules in order. It returns nil if all are true, else a [*Denied] with the first
// that is not. If ctx ends, it returns a Denied whose Err wraps the cause.
func (p *Policy) Decide(ctx context.Context, in *Input) error { return p.DecideWithin(ctx, in, nil) }

// DecideWithin is [Policy.Decide] within a budget, from which it takes the cost. Once that is used up,
// it returns a [*Denied] whose Err is [ErrBudget]. Nil means no budget.
func (p *Policy) DecideWithin(ctx context.Context, in *Input, budget *Budget) error {
	if len(p.rules) == 0 {
		return nil
	}
	vars := &activation{in: in}
	for i := range p.rules {
		r := &p.rules[i]
		allowed, err := r.evaluate(ctx, vars, budget)
		if err != nil {
			return &Denied{Rule: r.rule, Err: withoutValues(err, in, r.rule.Source), index: i}
		}
		if !allowed {
			return &Denied{Rule: r.rule, index: i}
		}
	}
	return nil
}

// run evaluates the expression.
func (c *compiled) run(ctx context.Context, vars cel.Activation, budget *Budget) (ref.Val, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if budget != nil && budget.Left == 0 {
		return nil, ErrBudget
	}
	// Only a loop checks the context, and passing it on takes a fifth of the time.
	var out ref.Val
	var details *cel.EvalDetails
	var err error
	if c.loops {
		out, details, err = c.program.ContextEval(ctx, vars)
	} else {
		out, details, err = c.program.Eval(vars)
	}
	if budget != nil && details != nil {
		if cost := details.ActualCost(); cost != nil {
			budget.Left -= min(budget.Left, max(1, *cost))
		}
	}
	return out, err //nolint:wrapcheck // the callers leave the values out of it
}

// evaluate runs an expression of type bool.
func (c *compiled) evaluate(ctx context.Context, vars cel.Activation, budget *Budget) (bool, error) {
	out, err := c.run(ctx, vars, budget)
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
