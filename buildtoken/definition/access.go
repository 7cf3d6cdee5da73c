package definition

import (
	"context"
	"net/netip"

	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Caller is the sender of a request.
type Caller struct {
	// Secret is the token that the request carried, Presented whether it
	// carried one at all: an empty token is a wrong one.
	Secret    token.Secret
	Presented bool
	// User is the user that an authentication handler accepted; empty for an
	// anonymous caller.
	User string
	// Remote is the client's address; the zero value means unknown.
	Remote netip.Addr
	// Trace is the trace context of the request, as in a valid header traceparent of
	// W3C Trace Context; empty means none.
	Trace string
	// Operator reports whether the request came over Caddy's admin API. It needs no
	// token and has every right; the rules of jobs apply.
	Operator bool
	// Post reports whether the request method was POST.
	Post bool
	// Request returns what rules see of the request. It is called only if a
	// rule is evaluated, by the goroutine to which the Caller was passed. Nil
	// means an empty request.
	Request func() policy.Request
}

// PolicyRequest returns what rules see of the request.
func (by Caller) PolicyRequest() policy.Request {
	if by.Request == nil {
		return policy.Request{}
	}
	return by.Request()
}

// RemoteText returns the client's address for logs. It is empty if the client
// has none, as on a Unix socket.
func (by Caller) RemoteText() string {
	if !by.Remote.IsValid() {
		return ""
	}
	return by.Remote.String()
}

// Right is what a caller without a token can do with a job.
type Right string

// The rights, named as in the access block of a configuration.
const (
	Read  Right = "read"
	Start Right = "build"
	Stop  Right = "cancel"
)

// May reports whether the access rules grant a right to a caller. full is the
// job's full name; empty for what belongs to no job. A request that checks more
// than one job must use a [Checker].
func (s *Site) May(ctx context.Context, by Caller, right Right, full string) bool {
	return s.Checker(by).May(ctx, right, full)
}

// requestBudget bounds the cost of the access rules of one request: about 0.1 s.
// A rule of average size costs some tens, so it is enough for many thousand jobs.
const requestBudget = 2_000_000

// Checker decides the access rules for one request. It evaluates a rule that
// does not mention job once, whatever the number of jobs, and another one once
// for each job. All evaluations share one budget and are denied once it is used
// up. So a request cannot cost more because a site has many jobs, nor a stream
// because it lasts long. A Checker must not be used concurrently.
type Checker struct {
	site    *Site
	by      Caller
	budget  policy.Budget
	decided map[decision]bool
}

// decision is what a Checker has decided. job is empty if the rule does not
// mention it.
type decision struct {
	right Right
	job   string
}

// Checker returns a Checker for a request of a caller.
func (s *Site) Checker(by Caller) *Checker {
	return &Checker{site: s, by: by, budget: policy.Budget{Left: requestBudget}, decided: map[decision]bool{}}
}

// May is [Site.May] for the Checker's caller.
func (c *Checker) May(ctx context.Context, right Right, full string) bool {
	if c.by.Operator {
		return true
	}
	var p *policy.Policy
	switch right {
	case Read:
		p = c.site.access.read
	case Start:
		p = c.site.access.build
	case Stop:
		p = c.site.access.cancel
	default:
		return false
	}
	of := decision{right: right}
	if p.Mentions("job") {
		of.job = full
	}
	if may, ok := c.decided[of]; ok {
		return may
	}
	if c.budget.Left == 0 {
		return false
	}
	in := policy.Input{Job: policy.JobOf(full), User: c.by.User, Request: c.by.PolicyRequest()}
	may := p.DecideWithin(ctx, &in, &c.budget) == nil
	if ctx.Err() == nil { // else it is not the rule's own decision
		c.decided[of] = may
	}
	return may
}
