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
// job's full name; empty for what belongs to no job.
func (s *Site) May(ctx context.Context, by Caller, right Right, full string) bool {
	var p *policy.Policy
	switch right {
	case Read:
		p = s.access.read
	case Start:
		p = s.access.build
	case Stop:
		p = s.access.cancel
	default:
		return false
	}
	return p.Decide(ctx, &policy.Input{Job: policy.JobOf(full), User: by.User, Request: by.PolicyRequest()}) == nil
}
