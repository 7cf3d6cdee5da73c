package policy

import (
	"net/netip"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Job is the job that a request is about, `job` in rules. The zero value is a job without a name.
type Job struct {
	Name     string // the last part of the full name
	Folder   string // all but the last part, without a slash at the end; "" at the top
	FullName string // folders and name with slashes between them
}

// JobOf returns the [Job] whose full name is fullName ("team/app/deploy"). It does not check the name.
func JobOf(fullName string) Job {
	i := strings.LastIndexByte(fullName, '/')
	return Job{Name: fullName[i+1:], Folder: fullName[:max(i, 0)], FullName: fullName}
}

// Token is the token that opened the job, `token` in rules. Rules see its name, never its secret.
type Token struct {
	Name string // "" when the caller used no token
}

// Request is the HTTP request, `request` in rules. It must not contain what rules should not see, above
// all headers with a secret.
type Request struct {
	Method, Host, Path, Scheme string
	RemoteIP                   string // an address without a port; see the package comment for what rules see
	UserAgent                  string
	Headers                    map[string]string // by lower-case name; nil is empty
}

// Input is everything that rules see of one request. [Policy.Decide] does not keep it.
type Input struct {
	Job     Job
	Token   Token
	Params  map[string]string // nil is empty
	Delay   time.Duration
	Cause   string
	User    string // "" for an anonymous caller
	Now     time.Time
	Request Request
}

// variables returns the declarations that go with [activation].
func variables(access bool) []cel.EnvOption {
	all := []cel.EnvOption{
		cel.Variable("user", cel.StringType),
		cel.Variable("job", jobType()),
		cel.Variable("request", requestType()),
	}
	if access {
		return all
	}
	return append(all,
		cel.Variable("token", tokenType()),
		cel.Variable("params", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("delay", cel.DurationType),
		cel.Variable("cause", cel.StringType),
		cel.Variable("now", cel.TimestampType),
	)
}

// activation passes an [Input] to CEL without copying it. A rule with a variable that the environment
// does not declare does not compile.
type activation struct {
	in   *Input
	made made
}

// ResolveName implements [cel.Activation].
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "params":
		return a.in.Params, true
	case "request":
		return &a.in.Request, true
	case "job":
		return &a.in.Job, true
	case "token":
		return &a.in.Token, true
	case "user":
		return types.String(a.in.User), true
	case "cause":
		return types.String(a.in.Cause), true
	case "now":
		return types.Timestamp{Time: a.in.Now.UTC()}, true
	case "delay":
		return types.Duration{Duration: a.in.Delay}, true
	case madeName:
		return &a.made, true
	}
	return nil, false
}

// Parent implements [cel.Activation].
func (a *activation) Parent() cel.Activation { return nil }

// plainAddress rewrites an IPv6 address in the one form that CEL's ip() and cidr() take: an IPv4
// address inside it is taken out, a zone is cut off. Anything else stays as it is.
func plainAddress(s string) string {
	if !strings.Contains(s, ":") {
		return s
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	return addr.Unmap().WithZone("").String()
}

var _ cel.Activation = (*activation)(nil)
