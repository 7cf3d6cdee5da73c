package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Case is a written test of rules: the rules, requests, and what is to come of each. Operators test
// their rules with the same files as we do ours. [ParseCase] reads one.
type Case struct {
	Access bool // the rules are those of an access block: they see user, job and request
	Rules  []Rule
	Checks []Check
}

// Check is one request of a [Case] with the wanted outcome.
type Check struct {
	Line  int // where the request begins in the file, from 1
	Input Input
	// Want is "allowed", "denied by RULE", or "denied by RULE: TEXT" when the rule must fail to be
	// evaluated with an error whose text has TEXT in it.
	Want string
}

// Mismatch is returned if the decision about a request differs from the wanted one.
type Mismatch struct {
	Line      int
	Got, Want string
	// Findings are the rules up to the one that decided.
	Findings []Finding
}

// Error returns the actual and the wanted outcome, and on separate lines what each rule found.
func (m *Mismatch) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d: got %q, want %q", m.Line, m.Got, m.Want)
	for _, f := range m.Findings {
		fmt.Fprintf(&b, "\n    %s: %s", f.Rule.Name, f.Text())
	}
	return b.String()
}

// Run compiles the rules and decides each request. It returns nil if everything came out as
// wanted, else an error for each bad rule (see [ErrBadRule]) or [*Mismatch].
func (c Case) Run(ctx context.Context) error {
	newEnv := NewEnv
	if c.Access {
		newEnv = NewAccessEnv
	}
	env, err := newEnv()
	if err != nil {
		return err
	}
	p, err := env.Compile(c.Rules)
	if err != nil {
		return err
	}
	var errs []error
	for i := range c.Checks {
		check := &c.Checks[i]
		decision := p.Decide(ctx, &check.Input)
		if got, ok := check.outcome(decision); !ok {
			errs = append(errs, &Mismatch{Line: check.Line, Got: got, Want: check.Want, Findings: p.Findings(&check.Input, decision)})
		}
	}
	return errors.Join(errs...)
}

// outcome returns the decision in the words of Want, and whether it is the wanted one.
func (c *Check) outcome(decision error) (got string, ok bool) {
	if decision == nil {
		return wantAllowed, c.Want == wantAllowed
	}
	d, _ := errors.AsType[*Denied](decision) // a decision is nothing else
	got = wantDenied + d.Rule.Name
	if d.Err == nil {
		return got, c.Want == got
	}
	reason, ok := strings.CutPrefix(c.Want, got+": ")
	return got + ": " + d.Err.Error(), ok && strings.Contains(d.Err.Error(), reason)
}

const (
	wantAllowed = "allowed"
	wantDenied  = "denied by "
)
